import { describe, expect, it } from 'vitest';
import { LockNumber, lockClasses, lockName } from '../../src/machine/lock-number.ts';
import { assertMutexHeld, MUTEX_WORDS, Mutex, mutexLock, mutexUnlock } from '../../src/machine/mutex.ts';
import { type Address, read, StepKind, type Task, write } from '../../src/machine/point.ts';
import { rcuReadLock } from '../../src/machine/rcu.ts';
import { SPINLOCK_WORDS, SpinLock, spinLock } from '../../src/machine/spinlock.ts';
import type { Thread } from '../../src/machine/thread.ts';
import { forSeeds, ruleBrokenBy, TestMachine } from './machine.ts';

function setup(threads = 4): { machine: TestMachine; lock: Mutex; word: Address } {
  const machine = new TestMachine({ threads });
  return { machine, lock: new Mutex(machine.reserve(MUTEX_WORDS), LockNumber.slotsLock), word: machine.reserve(2) };
}

describe('a mutex', () => {
  it('excludes and wakes whom it must, under 500 schedules', () => {
    forSeeds(500, (seed) => {
      const { machine, lock, word } = setup();
      function* increment(thread: Thread): Task<void> {
        for (let i = 0; i < 3; i++) {
          yield* mutexLock(lock, thread, 0);
          const value = thread.memory.load32(yield read(word));
          thread.memory.store32(yield write(word), value + 1);
          yield* mutexUnlock(lock, thread);
        }
      }
      machine.together(machine.threads.map(increment), seed);
      expect(machine.at(word)).toBe(12);
      expect(machine.at(lock.base)).toBe(0);
      expect(machine.at(lock.owner)).toBe(0);
    });
  });

  it('puts a waiter to sleep: one that always goes first does not keep the holder from releasing', () => {
    const { machine, lock, word } = setup();
    const [a, b] = machine.threads;
    machine.run(mutexLock(lock, a, 0));
    const order: string[] = [];
    function* holder(): Task<void> {
      a.memory.load32(yield read(word));
      order.push('released');
      yield* mutexUnlock(lock, a);
    }
    function* waiter(): Task<void> {
      yield* mutexLock(lock, b, 0);
      order.push('acquired');
    }
    machine.together([holder(), waiter()], (runnable) => runnable.length - 1, { maxSteps: 50 });
    expect(order).toEqual(['released', 'acquired']);
  });

  it('costs one atomic operation to take and one to release when it is free', () => {
    const { machine, lock } = setup();
    expect(machine.stepsOf(mutexLock(lock, machine.threads[2], 0))).toEqual([StepKind.Rmw]);
    expect(machine.at(lock.owner)).toBe(3);
    expect(machine.stepsOf(mutexUnlock(lock, machine.threads[2]))).toEqual([StepKind.Rmw]);
  });

  it('refuses misuse', () => {
    const { machine, lock } = setup();
    const [a, b, c, d] = machine.threads;
    machine.run(mutexLock(lock, a, 0));
    expect(ruleBrokenBy(() => machine.run(mutexLock(lock, a, 0)))).toBe('self-deadlock');
    expect(ruleBrokenBy(() => machine.run(mutexUnlock(lock, b)))).toBe('unlock-not-held');
    expect(ruleBrokenBy(() => machine.run(mutexLock(lock, b, 0)))).toBe('deadlock');
    expect(ruleBrokenBy(() => assertMutexHeld(lock, a))).toBe('none');
    expect(ruleBrokenBy(() => assertMutexHeld(lock, b))).toBe('lock-not-held');

    const inner = new Mutex(machine.reserve(MUTEX_WORDS), LockNumber.slotsArchLock);
    machine.run(mutexLock(inner, c, 0));
    expect(ruleBrokenBy(() => machine.run(mutexLock(lock, c, 0)))).toBe('lock-order');

    machine.run(rcuReadLock(machine.rcu, d));
    expect(() => machine.run(mutexLock(inner, d, 0))).toThrow(
      'thread 3: slots_arch_lock may sleep, but runs under an RCU read-side section',
    );
  });

  it('may not be taken under a spinning lock', () => {
    const { machine, lock } = setup();
    const spin = new SpinLock(machine.reserve(SPINLOCK_WORDS), LockNumber.mmuLock);
    machine.run(spinLock(spin, machine.threads[0], 0));
    expect(ruleBrokenBy(() => machine.run(mutexLock(lock, machine.threads[0], 0)))).toBe('sleeping-in-atomic');
  });
});

describe('the lock classes', () => {
  it('have a rank of their own each, in the order of the kernel', () => {
    expect(new Set(lockClasses.map(({ rank }) => rank)).size).toBe(lockClasses.length);
    const order = Object.values(LockNumber).sort((a, b) => lockClasses[a].rank - lockClasses[b].rank);
    expect(order.map(lockName)).toEqual([
      'slots_lock',
      'slots_arch_lock',
      'mmap_lock',
      'host_page_table_lock',
      'mmu_lock',
      'mn_invalidate_lock',
      'tdp_mmu_pages_lock',
      'mmu_unsync_pages_lock',
      'workqueue',
      'page_allocator',
      'rcu',
    ]);
  });
});
