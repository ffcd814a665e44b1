import { describe, expect, it } from 'vitest';
import { Counter } from '../../src/machine/counters.ts';
import { markLive, PageState } from '../../src/machine/page-allocator.ts';
import { allocPage } from '../../src/machine/page-cache.ts';
import { type Address, own, read, StepKind, type Task, write } from '../../src/machine/point.ts';
import { callRcu, rcuBarrier, rcuProcessCallbacks, rcuReadLock, rcuReadUnlock, synchronizeRcu } from '../../src/machine/rcu.ts';
import type { Thread } from '../../src/machine/thread.ts';
import { firstFailure, forSeeds, INITIAL, recordingProbe, ruleBrokenBy, TestMachine } from './machine.ts';

/** Allocates a page and stores its number at `link`; returns the page that was there. */
function* replacePage(machine: TestMachine, thread: Thread, link: Address): Task<number> {
  const { memory } = thread;
  const page = yield* allocPage(machine.allocator, thread);
  if (page === 0) throw new Error('out of pages');
  markLive(machine.allocator, thread, page);
  return memory.xchg32(yield write(link), page);
}

/** Looks the page at `link` up and reads its table twice; a freed page is found out by its contents. */
function* readPage(machine: TestMachine, thread: Thread, link: Address, rounds: number): Task<void> {
  const { memory } = thread;
  for (let i = 0; i < rounds; i++) {
    yield* rcuReadLock(machine.rcu, thread);
    const page = memory.load32(yield read(link));
    if (page !== 0) {
      for (let entry = 0; entry < 2; entry++) {
        const { hi } = memory.load64(yield read((machine.allocator.tableOf(page) + 2 * entry) as Address));
        if (hi !== INITIAL.hi) throw new Error(`page ${page} was freed under its reader`);
      }
    }
    yield* rcuReadUnlock(machine.rcu, thread);
  }
}

type Free = (machine: TestMachine, thread: Thread, page: number) => Task<void>;

const afterGracePeriod: Free = function* (machine, thread, page): Task<void> {
  yield* callRcu(machine.rcu, thread, page);
  yield* rcuProcessCallbacks(machine.rcu, machine.allocator, thread);
};

/** Two readers, one updater. */
function readersAndUpdater(seed: number, free: Free): TestMachine {
  const machine = new TestMachine({ threads: 3, pages: 4 });
  const link = machine.reserve(2);
  function* update(thread: Thread): Task<void> {
    for (let i = 0; i < 4; i++) {
      const old = yield* replacePage(machine, thread, link);
      if (old !== 0) yield* free(machine, thread, old);
    }
  }
  const [a, b, c] = machine.threads;
  machine.together([readPage(machine, a, link, 4), readPage(machine, b, link, 4), update(c)], seed);
  return machine;
}

describe('RCU', () => {
  it('frees no page under a reader, under 1000 schedules', () => {
    forSeeds(1000, (seed) => {
      const machine = readersAndUpdater(seed, afterGracePeriod);
      expect(machine.allocator.usedPages(machine.memory)).toBe(1);
      expect(machine.threads[2].counters[Counter.rcuPagesFreed]).toBe(3);
    });
  });

  it('is what keeps the pages: freed without a grace period, they are found out', () => {
    const hasty: Free = function* (machine, thread, page): Task<void> {
      yield* callRcu(machine.rcu, thread, page);
      // A machine without readers, as far as this grace period knows.
      const blind = Object.assign(Object.create(machine.rcu), { threadCount: 0 });
      yield* rcuProcessCallbacks(blind, machine.allocator, thread);
    };
    expect(firstFailure(1000, (seed) => readersAndUpdater(seed, hasty)).error.message).toMatch(/was freed under its reader/);
  });

  it('touches the arena once to enter and once to leave, at the outermost level only', () => {
    const { probe, events } = recordingProbe();
    const machine = new TestMachine({ environment: { probe } });
    const [thread] = machine.threads;
    const { rcu } = machine;
    expect(machine.stepsOf(rcuReadLock(rcu, thread))).toEqual([StepKind.Rmw]);
    expect(machine.at(rcu.readerWord(0)) & 1).toBe(1);
    expect(machine.stepsOf(rcuReadLock(rcu, thread))).toEqual([]);
    expect(machine.stepsOf(rcuReadUnlock(rcu, thread))).toEqual([]);
    expect(machine.at(rcu.readerWord(0)) & 1).toBe(1);
    expect(machine.stepsOf(rcuReadUnlock(rcu, thread))).toEqual([StepKind.Write]);
    expect(machine.at(rcu.readerWord(0)) & 1).toBe(0);
    expect(thread.holdsNothing()).toBe(true);
    expect(events).toEqual([['rcuReadLock'], ['rcuReadUnlock']]);
  });

  it('waits for readers that are inside, and not for those that come later', () => {
    const machine = new TestMachine({ threads: 2 });
    const [reader, updater] = machine.threads;
    machine.run(rcuReadLock(machine.rcu, reader));
    expect(ruleBrokenBy(() => machine.run(synchronizeRcu(machine.rcu, updater)))).toBe('deadlock');
    function* leaveAndEnter(): Task<void> {
      yield* rcuReadUnlock(machine.rcu, reader);
      yield* rcuReadLock(machine.rcu, reader);
    }
    let turn = 0;
    // The updater looks and has to wait; the reader leaves and is back before the updater looks again.
    const schedule = (runnable: readonly number[]): number => (turn++ < 4 ? runnable.length - 1 : 0);
    machine.together([leaveAndEnter(), synchronizeRcu(machine.rcu, updater)], schedule, { maxSteps: 100 });
    expect(reader.rcuNesting).toBe(1);
    expect(updater.counters[Counter.rcuGracePeriods]).toBe(1);
  });

  it('refuses misuse', () => {
    const machine = new TestMachine();
    const [a, b] = machine.threads;
    const { rcu, allocator } = machine;
    expect(ruleBrokenBy(() => machine.run(rcuReadUnlock(rcu, a)))).toBe('unlock-not-held');
    machine.run(rcuReadLock(rcu, a));
    expect(ruleBrokenBy(() => machine.run(synchronizeRcu(rcu, a)))).toBe('sleeping-in-atomic');
    expect(ruleBrokenBy(() => machine.run(rcuProcessCallbacks(rcu, allocator, a)))).toBe('sleeping-in-atomic');
    const page = machine.run(allocPage(allocator, b));
    expect(ruleBrokenBy(() => machine.run(callRcu(rcu, a, page)))).toBe('page-state');
    markLive(allocator, b, page);
    machine.run(callRcu(rcu, a, page));
    expect(ruleBrokenBy(() => machine.run(callRcu(rcu, b, page)))).toBe('double-free');
  });

  it('loses no page that several threads queue and process at once; the barrier waits for all', () => {
    forSeeds(300, (seed) => {
      const machine = new TestMachine({ threads: 4, pages: 10 });
      const { rcu, allocator, memory } = machine;
      const done: number[] = [];
      function* churn(thread: Thread): Task<void> {
        const mine: number[] = [];
        for (let i = 0; i < 3; i++) {
          const page = yield* allocPage(allocator, thread);
          markLive(allocator, thread, page);
          mine.push(page);
        }
        for (const page of mine) yield* callRcu(rcu, thread, page);
        if (thread.id === 0) yield* rcuProcessCallbacks(rcu, allocator, thread);
        else yield* rcuBarrier(rcu, allocator, thread);
        // No page of ours is queued any more once the barrier is through, though it may be in use by others again.
        if (thread.id !== 0) {
          const queued = mine.filter((page) => {
            const owner = memory.load32(own(allocator.word(page, 2)));
            return allocator.stateOf(memory, page) === PageState.rcu && owner === thread.id + 1;
          });
          if (queued.length > 0) throw new Error(`pages ${queued} outlive the barrier`);
        }
        done.push(thread.id);
      }
      machine.together(machine.threads.slice(0, 3).map(churn), seed);
      machine.run(rcuBarrier(rcu, allocator, machine.threads[3]));
      expect(done).toHaveLength(3);
      expect(allocator.usedPages(memory)).toBe(0);
      expect(machine.at(rcu.processing)).toBe(0);
    });
  });
});
