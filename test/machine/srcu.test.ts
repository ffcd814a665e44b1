import { describe, expect, it } from 'vitest';
import { Counter } from '../../src/machine/counters.ts';
import { LockNumber } from '../../src/machine/lock-number.ts';
import { type Address, fence, read, relax, rmw, type Task, write } from '../../src/machine/point.ts';
import { SPINLOCK_WORDS, SpinLock, spinLock } from '../../src/machine/spinlock.ts';
import { type Srcu, srcuHeld, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../src/machine/srcu.ts';
import type { Thread } from '../../src/machine/thread.ts';
import { firstFailure, forSeeds, ruleBrokenBy, TestMachine } from './machine.ts';

const POISONED = -1;

/** Objects 1 to 8 are published one after the other at `link`; each is poisoned once a grace period is over. */
function publishAndRead(seed: number, synchronize: (srcu: Srcu, thread: Thread) => Task<void>): TestMachine {
  const machine = new TestMachine({ threads: 3 });
  const { srcu } = machine;
  const link = machine.reserve(2);
  const objects = machine.reserve(32);
  const object = (i: number): Address => (objects + i) as Address;
  function* reader(thread: Thread): Task<void> {
    for (let i = 0; i < 4; i++) {
      const index = yield* srcuReadLock(srcu, thread);
      const current = thread.memory.load32(yield read(link));
      for (let look = 0; look < 3; look++) {
        if (thread.memory.load32(yield read(object(current))) === POISONED) throw new Error('freed under its reader');
      }
      yield* srcuReadUnlock(srcu, thread, index);
    }
  }
  function* updater(thread: Thread): Task<void> {
    for (let i = 1; i <= 8; i++) {
      thread.memory.store32(yield write(link), i);
      yield* synchronize(srcu, thread);
      thread.memory.store32(yield write(object(i - 1)), POISONED);
    }
  }
  const [a, b, c] = machine.threads;
  machine.together([reader(a), reader(b), updater(c)], seed);
  return machine;
}

/** A grace period that changes the index and waits for the former one only, and so misses stragglers. */
function* oneDrain(srcu: Srcu, thread: Thread): Task<void> {
  const { memory } = thread;
  yield fence();
  const active = memory.load32(yield read(srcu.index));
  memory.xchg32(yield rmw(srcu.index), 1 - active);
  for (let id = 0; id < srcu.threadCount; id++) {
    const word = srcu.counterWord(id, active);
    while (memory.load32(yield read(word)) !== 0) yield relax(word);
  }
}

describe('SRCU', () => {
  it('waits for every reader that may see the old object, under 1000 schedules', () => {
    forSeeds(1000, (seed) => {
      const machine = publishAndRead(seed, synchronizeSrcu);
      expect(machine.threads[2].counters[Counter.srcuGracePeriods]).toBe(8);
      expect(machine.threads.some((thread) => srcuHeld(machine.srcu, thread))).toBe(false);
    });
  });

  it('needs both of its waits: with one alone a straggler is missed', () => {
    expect(firstFailure(3000, (seed) => publishAndRead(seed, oneDrain)).error.message).toMatch(/freed under its reader/);
  });

  it('serialises grace periods of several threads', () => {
    forSeeds(200, (seed) => {
      const machine = new TestMachine({ threads: 4 });
      const { srcu } = machine;
      function* section(thread: Thread): Task<void> {
        for (let i = 0; i < 3; i++) {
          const outer = yield* srcuReadLock(srcu, thread);
          const inner = yield* srcuReadLock(srcu, thread);
          yield* srcuReadUnlock(srcu, thread, outer);
          yield* srcuReadUnlock(srcu, thread, inner);
        }
      }
      const [a, b, c, d] = machine.threads;
      machine.together([section(a), section(b), synchronizeSrcu(srcu, c), synchronizeSrcu(srcu, d)], seed);
      expect(machine.at(srcu.index)).toBe(0);
      expect(machine.at(srcu.gracePeriods)).toBe(0);
    });
  });

  it('lets readers sleep but refuses to wait for itself, or where nobody may sleep', () => {
    const machine = new TestMachine();
    const { srcu } = machine;
    const [a, b] = machine.threads;
    const index = machine.run(srcuReadLock(srcu, a));
    expect(srcuHeld(srcu, a)).toBe(true);
    expect(ruleBrokenBy(() => machine.run(synchronizeSrcu(srcu, a)))).toBe('self-deadlock');
    expect(ruleBrokenBy(() => machine.run(srcuReadUnlock(srcu, a, 1 - index)))).toBe('unlock-not-held');
    machine.run(srcuReadUnlock(srcu, a, index));
    machine.run(spinLock(new SpinLock(machine.reserve(SPINLOCK_WORDS), LockNumber.mmuLock), b, 0));
    expect(ruleBrokenBy(() => machine.run(synchronizeSrcu(srcu, b)))).toBe('sleeping-in-atomic');
  });
});
