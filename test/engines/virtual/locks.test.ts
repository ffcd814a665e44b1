/**
 * Three textbook locks, written as coroutines, behave on the modelled machine as queueing theory and hardware say: nothing
 * in the engine knows what a lock is.
 */
import { describe, expect, test } from 'vitest';
import { Cost } from '../../../src/machine/cost.ts';
import { type Address, read, relax, rmw, spend, type Task, wait, write } from '../../../src/machine/point.ts';
import type { ThreadEnvironment } from '../../../src/machine/thread.ts';
import { addAll, type Body, line, roundEngine, roundMachine, total } from './round-machine.ts';

const { atomicNs, hitNs, pauseNs } = roundMachine.access;
const { socketNs, memoryNs } = roundMachine.transfer;
const HOLD_NS = 20;

interface Lock {
  lock(environment: ThreadEnvironment, me: number): Task<void>;
  unlock(environment: ThreadEnvironment, me: number): Task<void>;
}

const LOCK = line(4);
/** The word that the lock protects: nobody else may see it odd. */
const DATA = line(6);
/** Each task's node: a word that its predecessor clears, and one that names its successor. */
const node = (me: number): Address => line(100 + 2 * me);
const next = (me: number): Address => line(101 + 2 * me);

const testAndSet: Lock = {
  *lock({ memory }) {
    while (memory.xchg32(yield rmw(LOCK), 1) !== 0) {
      do {
        yield relax(LOCK);
      } while (memory.load32(yield read(LOCK)) !== 0);
    }
  },
  *unlock({ memory }) {
    memory.store32(yield write(LOCK), 0);
  },
};

const ticket: Lock = {
  *lock({ memory }) {
    const mine = memory.add32(yield rmw(LOCK), 1);
    for (;;) {
      const serving = memory.load32(yield read(line(5)));
      if (serving === mine) return;
      yield wait(line(5), serving);
    }
  },
  *unlock({ memory }) {
    const serving = memory.load32(yield read(line(5)));
    memory.store32(yield write(line(5)), serving + 1);
  },
};

const mcs: Lock = {
  *lock({ memory }, me) {
    memory.store32(yield write(node(me)), 1);
    memory.store32(yield write(next(me)), 0);
    const previous = memory.xchg32(yield rmw(LOCK), me + 1);
    if (previous === 0) return;
    memory.store32(yield write(next(previous - 1)), me + 1);
    while (memory.load32(yield read(node(me))) === 1) yield wait(node(me), 1);
  },
  *unlock({ memory }, me) {
    if (memory.load32(yield read(next(me))) === 0) {
      if (memory.cmpxchg32(yield rmw(LOCK), me + 1, 0) === me + 1) return;
      while (memory.load32(yield read(next(me))) === 0) yield relax(next(me));
    }
    memory.store32(yield write(node(memory.load32(yield read(next(me))) - 1)), 0);
  },
};

interface Outcome {
  /** Virtual nanoseconds for each critical section. */
  readonly perSectionNs: number;
  /** Longest and shortest life of a task. */
  readonly unfairness: number;
  readonly acquisitions: number[];
}

function contend(lock: Lock, tasks: number, sections: number, seed = 1): Outcome {
  const engine = roundEngine({ seed, labels: [{ name: 'lock', base: LOCK, words: 32 }] });
  const acquisitions: number[] = [];
  const body = (me: number): Body =>
    function* (environment) {
      const { memory } = environment;
      for (let i = 0; i < sections; i++) {
        yield* lock.lock(environment, me);
        const before = memory.load32(yield read(DATA));
        if (before % 2 !== 0) throw new Error('two tasks in the critical section');
        memory.store32(yield write(DATA), before + 1);
        yield spend(Cost.spteChange, HOLD_NS / 20);
        memory.store32(yield write(DATA), before + 2);
        acquisitions.push(me);
        yield* lock.unlock(environment, me);
      }
    };
  addAll(
    engine,
    Array.from({ length: tasks }, (_, me) => body(me)),
  );
  expect(engine.run()).toEqual({ status: 'done' });
  expect(engine.memory.words[DATA]).toBe(2 * tasks * sections);
  const reports = engine.reports();
  for (const { byCauseNs, endNs } of reports) expect(total(byCauseNs)).toBeCloseTo(endNs, 6);
  const ends = reports.map(({ endNs }) => endNs);
  return {
    perSectionNs: Math.max(...ends) / (tasks * sections),
    unfairness: Math.max(...ends) / Math.min(...ends),
    acquisitions,
  };
}

describe.each([
  ['test-and-set', testAndSet],
  ['ticket', ticket],
  ['MCS', mcs],
] as const)('%s lock', (_, lock) => {
  test.each([1, 2, 7, 24, 48])('excludes with %i tasks, and every task gets its turns', (tasks) => {
    const { acquisitions } = contend(lock, tasks, 20);
    for (let me = 0; me < tasks; me++) expect(acquisitions.filter((other) => other === me)).toHaveLength(20);
  });

  test('contended, a section costs at least the hand-over of its line and data', () => {
    const { perSectionNs } = contend(lock, 8, 100);
    expect(perSectionNs).toBeGreaterThan(HOLD_NS + 2 * socketNs);
  });
});

test('a free lock costs the prices of its steps', () => {
  const sections = 100;
  const { perSectionNs } = contend(mcs, 1, sections);
  const { storeNs } = roundMachine.access;
  // Two stores for the node, exchange, load, store, hold, store; look for a successor, exchange back.
  const section = 2 * storeNs + atomicNs + hitNs + storeNs + HOLD_NS + storeNs + hitNs + atomicNs;
  expect(perSectionNs).toBeGreaterThanOrEqual(section);
  expect(perSectionNs).toBeLessThanOrEqual(section + (5 * memoryNs) / sections);
});

test('a queue lock hands over in constant time; a ticket lock in time that grows with its spinners', () => {
  const perSection = (lock: Lock, tasks: number): number => contend(lock, tasks, 60).perSectionNs;
  const mcs4 = perSection(mcs, 4);
  const mcs24 = perSection(mcs, 24);
  expect(mcs24 / mcs4).toBeGreaterThan(0.8);
  expect(mcs24 / mcs4).toBeLessThan(1.25);
  const ticket4 = perSection(ticket, 4);
  const ticket24 = perSection(ticket, 24);
  expect(ticket24).toBeGreaterThan(1.5 * ticket4);
  expect(ticket24).toBeGreaterThan(1.5 * mcs24);
});

test('queued locks are first come, first served', () => {
  for (const lock of [ticket, mcs]) {
    const tasks = 12;
    const { acquisitions, unfairness } = contend(lock, tasks, 50);
    expect(unfairness).toBeLessThan(1.1);
    // In the steady state each round has every task once.
    const round = acquisitions.slice(20 * tasks, 21 * tasks);
    expect(new Set(round).size).toBe(tasks);
  }
});

test('a closed queue: waiting for the lock is what work outside the lock leaves of the round', () => {
  // N tasks think for Z outside and hold for S inside: below saturation (N S < Z) nobody waits long; above it, each waits
  // N S - Z - S, the machine-repairman bound.
  const waitingShare = (tasks: number): number => {
    const engine = roundEngine({
      labels: [
        { name: 'lock', base: LOCK, words: 32 },
        { name: 'nodes', base: line(100), words: 3200 },
      ],
    });
    addAll(
      engine,
      Array.from({ length: tasks }, (_, me): Body => {
        return function* (environment) {
          for (let i = 0; i < 50; i++) {
            yield spend(Cost.faultPath, 20); // Z = 20 µs
            yield* mcs.lock(environment, me);
            yield spend(Cost.faultPath, 2); // S = 2 µs
            yield* mcs.unlock(environment, me);
          }
        };
      }),
    );
    engine.run();
    return (engine.totals()['waiting:nodes'] ?? 0) / total(engine.totals());
  };
  expect(waitingShare(1)).toBe(0);
  expect(waitingShare(5)).toBeLessThan(0.25);
  const tasks = 22;
  const round = tasks * 2;
  expect(waitingShare(tasks)).toBeCloseTo((round - 20 - 2) / round, 1);
});

test('a relax that nobody answers costs one pause and one look, then nothing', () => {
  const engine = roundEngine();
  const steps: number[] = [];
  addAll(engine, [
    function* ({ memory }) {
      let looks = 0;
      while (memory.load32(yield read(LOCK)) === 0) {
        looks++;
        yield relax(LOCK);
      }
      steps.push(looks);
    },
    function* ({ memory }) {
      yield spend(Cost.faultPath, 1000);
      memory.store32(yield write(LOCK), 1);
    },
  ]);
  engine.run();
  expect(steps).toEqual([2]);
  expect(engine.report(0).byCauseNs.relax).toBe(pauseNs);
  expect(engine.report(0).byCauseNs['waiting:other']).toBeGreaterThan(990_000);
});
