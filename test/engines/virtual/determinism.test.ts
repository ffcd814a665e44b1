/** Equal seeds give equal runs, to the bit, interrupted or not; every picosecond has a cause. */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { VirtualEngine } from '../../../src/engines/virtual/engine.ts';
import { COST_NAMES } from '../../../src/engines/virtual/price-list.ts';
import type { CostName } from '../../../src/engines/virtual/profile.ts';
import { Cost } from '../../../src/machine/cost.ts';
import { count, fence, own, read, relax, rmw, spend, type Task, wait, wake, write } from '../../../src/machine/point.ts';
import type { ThreadEnvironment } from '../../../src/machine/thread.ts';
import { line, roundMachine, total } from './round-machine.ts';

const SPIN = line(1);
const MUTEX = line(2);

/** Some of everything: both kinds of lock, shared counts, private and shared lines, work in kernel and guest. */
function* mixture(environment: ThreadEnvironment, me: number): Task<number> {
  const { memory } = environment;
  for (let i = 0; i < 40; i++) {
    memory.add32(yield count(line(3)), 1);
    while (memory.xchg32(yield rmw(SPIN), 1) !== 0) {
      while (memory.load32(yield read(SPIN)) !== 0) yield relax(SPIN);
    }
    memory.store32(yield write(line(10 + ((me + i) % 5))), me);
    yield spend(Cost.spteChange);
    memory.store32(yield write(SPIN), 0);
    if (i % 4 === me % 2) {
      if (memory.cmpxchg32(yield rmw(MUTEX), 0, 1) !== 0) {
        while (memory.xchg32(yield rmw(MUTEX), 2) !== 0) yield wait(MUTEX, 2);
      }
      memory.fill32(own(line(200 + me * 4)), i, 64);
      yield spend(Cost.tableAlloc, 100);
      if (memory.xchg32(yield rmw(MUTEX), 0) === 2) yield wake(MUTEX, 1);
    }
    yield fence();
    if (environment.needResched()) yield spend(Cost.reschedule);
    yield spend(Cost.vmEnter);
    yield spend(Cost.guestAccess, 200 + ((me * 7 + i) % 13) * 1000);
    yield spend(Cost.vmExit);
  }
  return environment.now();
}

function engineOf(seed: number, tasks: number, preemption: 'voluntary' | 'anywhere' = 'anywhere'): VirtualEngine {
  // Prices of its own, so that a better fit of a profile does not change the pinned run.
  const costs = Object.fromEntries(COST_NAMES.map((name, i) => [name, 37.125 + 53 * i])) as Record<CostName, number>;
  const scheduler = { ...roundMachine.scheduler, sliceNs: 30_000, tickNs: 100_000, resched: 'tick' as const, preemption };
  const engine = new VirtualEngine({
    words: 1 << 14,
    profile: { ...roundMachine, topology: { sockets: 2, coresPerSocket: 4, threadsPerCore: 2 }, scheduler, jitter: 0.05, costs },
    seed,
    labels: [
      { name: 'spin', base: SPIN, words: 16 },
      { name: 'mutex', base: MUTEX, words: 16, sleeps: true },
    ],
  });
  for (let i = 0; i < tasks; i++) {
    const cpu = engine.topology.pin(i, 'sockets');
    engine.addTask({ name: `t${i}`, cpu, body: (environment) => mixture(environment, i) });
  }
  return engine;
}

/** All that a run leaves behind. */
const hashOf = (engine: VirtualEngine): string =>
  createHash('sha256')
    .update(JSON.stringify([engine.reports(), engine.totals(), engine.hottestLines(99), engine.steps, engine.timeNs]))
    .update(Buffer.from(engine.memory.words.buffer))
    .digest('hex');

const runHash = (seed: number, tasks: number): string => {
  const engine = engineOf(seed, tasks);
  expect(engine.run()).toEqual({ status: 'done' });
  return hashOf(engine);
};

test.each([7, 16, 40])('equal seeds give equal runs of %i tasks, other seeds others', (tasks) => {
  const hashes = [1, 2, 3].map((seed) => runHash(seed, tasks));
  expect(new Set(hashes).size).toBe(3);
  expect([1, 2, 3].map((seed) => runHash(seed, tasks))).toEqual(hashes);
});

test('a run is the same on every Node version and machine', () => {
  expect(runHash(42, 24)).toBe('5b5337410d2b6c02b2ec6d183c3c3ffeab8eef96e7ebaa6dd8c2135405dec297');
});

test.each([1, 7, 1000])('stopping every %i steps changes nothing', (stepsMax) => {
  const whole = runHash(5, 24);
  const engine = engineOf(5, 24);
  let stops = 0;
  for (;;) {
    const { status } = engine.run({ stepsMax });
    if (status === 'done') break;
    expect(status).toBe('paused');
    stops++;
  }
  expect(stops).toBeGreaterThan(3);
  expect(hashOf(engine)).toBe(whole);
});

test('stopping at deadlines changes nothing', () => {
  const whole = runHash(5, 24);
  const engine = engineOf(5, 24);
  let until = 0;
  while (engine.run({ untilNs: (until += 12_345) }).status === 'deadline');
  expect(hashOf(engine)).toBe(whole);
});

test.each(['voluntary', 'anywhere'] as const)('every picosecond of a task has a cause (preemption: %s)', (preemption) => {
  // Spinners under voluntary preemption need a CPU each.
  const engine = engineOf(9, preemption === 'anywhere' ? 40 : 16, preemption);
  expect(engine.run()).toEqual({ status: 'done' });
  for (const { byCauseNs, startNs, endNs, done } of engine.reports()) {
    expect(done).toBe(true);
    expect(total(byCauseNs)).toBeCloseTo(endNs - startNs, 4);
  }
  const totals = engine.totals();
  for (const cause of [
    'vmExit',
    'guestAccess',
    'access',
    'lineTransfer',
    'lineQueue',
    'fence',
    'relax',
    'waiting:spin',
    'waiting:mutex',
  ]) {
    expect(totals, cause).toHaveProperty([cause]);
  }
});

test('the mutual exclusion of the mixture held', () => {
  const engine = engineOf(3, 16);
  engine.run();
  expect(engine.memory.words[line(3)]).toBe(16 * 40);
  expect([engine.memory.words[SPIN], engine.memory.words[MUTEX]]).toEqual([0, 0]);
  expect(engine.lostWakes).toBe(0);
  expect(engine.memory.words[line(200)]).toBe(36);
});
