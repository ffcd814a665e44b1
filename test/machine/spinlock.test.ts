import { describe, expect, it } from 'vitest';
import { LockNumber } from '../../src/machine/lock-number.ts';
import { type Address, own, read, StepKind, type Task, write } from '../../src/machine/point.ts';
import { roundRobin } from '../../src/machine/run.ts';
import { assertSpinHeld, SPINLOCK_WORDS, SpinLock, spinIsContended, spinLock, spinUnlock } from '../../src/machine/spinlock.ts';
import { LOCK_NESTING, type Thread } from '../../src/machine/thread.ts';
import { forSeeds, recordingProbe, ruleBrokenBy, TestMachine } from './machine.ts';

function setup(threads = 3): { machine: TestMachine; lock: SpinLock; word: Address } {
  const machine = new TestMachine({ threads });
  return { machine, lock: new SpinLock(machine.reserve(SPINLOCK_WORDS), LockNumber.pagesLock), word: machine.reserve(2) };
}

/** Adds to a word in two steps, which only a lock makes one. */
function* increment(lock: SpinLock, thread: Thread, word: Address, rounds: number, log: number[]): Task<void> {
  for (let i = 0; i < rounds; i++) {
    yield* spinLock(lock, thread, 0);
    log.push(thread.id);
    const value = thread.memory.load32(yield read(word));
    thread.memory.store32(yield write(word), value + 1);
    yield* spinUnlock(lock, thread);
  }
}

describe('a spinlock', () => {
  it('excludes, wakes whom it must, and serves in the order of arrival, under 500 schedules', () => {
    forSeeds(500, (seed) => {
      const { machine, lock, word } = setup(4);
      const arrivals: number[] = [];
      const served: number[] = [];
      const holding = new Set<number>();
      machine.together(
        machine.threads.map((thread) => increment(lock, thread, word, 3, served)),
        seed,
        {
          onStep: (task, kind, a) => {
            // Each thread exchanges the tail twice a round: to arrive and to leave.
            if (a !== lock.base || kind !== StepKind.Rmw) return;
            if (holding.delete(task)) return;
            holding.add(task);
            arrivals.push(task);
          },
        },
      );
      expect(machine.at(word)).toBe(12);
      expect(served).toEqual(arrivals);
      expect(machine.at(lock.base)).toBe(0);
      expect(machine.threads.every((thread) => thread.holdsNothing() && thread.lockNodesInUse === 0)).toBe(true);
    });
  });

  it('costs one atomic operation to take and one to release when it is free', () => {
    const { machine, lock } = setup();
    expect(machine.stepsOf(spinLock(lock, machine.threads[0], 0))).toEqual([StepKind.Rmw]);
    expect(machine.stepsOf(spinUnlock(lock, machine.threads[0]))).toEqual([StepKind.Rmw]);
  });

  it('is contended while somebody waits', () => {
    const { machine, lock } = setup();
    const [a, b] = machine.threads;
    machine.run(spinLock(lock, a, 0));
    expect(machine.run(spinIsContended(lock, a))).toBe(false);
    const waiter = spinLock(lock, b, 0);
    waiter.next();
    waiter.next(own(lock.base));
    expect(machine.run(spinIsContended(lock, a))).toBe(true);
  });

  it('releases in any order', () => {
    const { machine, lock, word } = setup(2);
    const inner = new SpinLock(machine.reserve(SPINLOCK_WORDS), LockNumber.allocator);
    function* crossed(thread: Thread): Task<void> {
      for (let i = 0; i < 3; i++) {
        yield* spinLock(lock, thread, 0);
        yield* spinLock(inner, thread, 0);
        yield* spinUnlock(lock, thread);
        const value = thread.memory.load32(yield read(word));
        thread.memory.store32(yield write(word), value + 1);
        yield* spinUnlock(inner, thread);
      }
    }
    forSeeds(200, (seed) => {
      machine.memory.store32(own(word), 0);
      machine.together(machine.threads.map(crossed), seed);
      expect(machine.at(word)).toBe(6);
    });
  });

  it('refuses to be taken twice, released by others, or out of order', () => {
    const { machine, lock } = setup();
    const [a, b] = machine.threads;
    machine.run(spinLock(lock, a, 0));
    expect(ruleBrokenBy(() => machine.run(spinLock(lock, a, 0)))).toBe('self-deadlock');
    expect(ruleBrokenBy(() => machine.run(spinUnlock(lock, b)))).toBe('unlock-not-held');
    expect(ruleBrokenBy(() => assertSpinHeld(lock, b))).toBe('lock-not-held');
    expect(ruleBrokenBy(() => assertSpinHeld(lock, a))).toBe('none');
    const outer = new SpinLock(machine.reserve(SPINLOCK_WORDS), LockNumber.mmuLock);
    expect(() => machine.run(spinLock(outer, a, 0))).toThrow(
      'thread 0 takes mmu_lock while it holds tdp_mmu_pages_lock, which comes after it',
    );
  });

  it('refuses to nest deeper than the nodes of a thread reach', () => {
    const { machine } = setup();
    const locks = [2, 5, 3, 4, 9].map((number) => new SpinLock(machine.reserve(SPINLOCK_WORDS), number));
    for (const lock of locks.slice(0, LOCK_NESTING)) machine.run(spinLock(lock, machine.threads[0], 0));
    expect(ruleBrokenBy(() => machine.run(spinLock(locks[LOCK_NESTING], machine.threads[0], 0)))).toBe('lock-nesting');
  });

  it('reports to the probe, and that a thread had to wait', () => {
    const { probe, events } = recordingProbe();
    const machine = new TestMachine({ threads: 2, environment: { probe } });
    const lock = new SpinLock(machine.reserve(SPINLOCK_WORDS), 3);
    machine.run(spinLock(lock, machine.threads[0], 17));
    machine.run(spinUnlock(lock, machine.threads[0]));
    expect(events).toEqual([
      ['attempt', 3, 1, 17],
      ['acquired', 3, 1, 17],
      ['released', 3, 1],
    ]);
    events.length = 0;
    const word = machine.reserve(2);
    machine.together(
      machine.threads.map((thread) => increment(lock, thread, word, 1, [])),
      roundRobin(),
    );
    expect(events.map(([event]) => event)).toEqual([
      'attempt',
      'attempt',
      'acquired',
      'contended',
      'released',
      'acquired',
      'released',
    ]);
  });
});
