/** More tasks than CPUs: time slices, run queues, and where the kernel lets a task lose its CPU. */
import { expect, test } from 'vitest';
import { Cost } from '../../../src/machine/cost.ts';
import { read, rmw, spend, wait, wake } from '../../../src/machine/point.ts';
import { type Body, line, roundEngine, roundMachine, total } from './round-machine.ts';

const { sliceNs, contextSwitchNs } = roundMachine.scheduler;
const anywhere = { ...roundMachine, scheduler: { ...roundMachine.scheduler, preemption: 'anywhere' as const } };

/** A guest that computes for `us` microseconds, in pieces of one. */
const guest = (us: number): Body =>
  function* () {
    for (let i = 0; i < us; i++) yield spend(Cost.userPage, 10);
  };

test.each([2, 3, 5])('%i tasks share a CPU fairly, and the CPU loses only the switches', (n) => {
  const engine = roundEngine();
  const us = 1000;
  for (let i = 0; i < n; i++) engine.addTask({ name: `t${i}`, cpu: 3, body: guest(us) });
  expect(engine.run()).toEqual({ status: 'done' });
  const reports = engine.reports();
  for (const report of reports) {
    expect(report.byCauseNs.userPage).toBe(1000 * us);
    expect(total(report.byCauseNs)).toBe(report.endNs);
  }
  const ends = reports.map(({ endNs }) => endNs);
  const rounds = (1000 * us) / sliceNs + 1; // the last step falls behind the last full slice
  const work = n * 1000 * us;
  expect(Math.max(...ends)).toBeGreaterThanOrEqual(work);
  expect(Math.max(...ends)).toBeLessThanOrEqual(work + n * rounds * contextSwitchNs);
  // Nobody is ahead by more than a slice of every other task.
  expect(Math.max(...ends) - Math.min(...ends)).toBeLessThanOrEqual(n * (sliceNs + contextSwitchNs));
});

test('half way through, each of equal tasks has had its share', () => {
  const engine = roundEngine();
  const n = 4;
  for (let i = 0; i < n; i++) engine.addTask({ name: `t${i}`, cpu: 0, body: guest(10_000) });
  expect(engine.run({ untilNs: 20e6 })).toEqual({ status: 'deadline' });
  for (const { byCauseNs } of engine.reports()) {
    expect(Math.abs(byCauseNs.userPage - 20e6 / n)).toBeLessThanOrEqual(2 * sliceNs);
  }
});

test('one long piece of work is cut at the end of the slice', () => {
  const engine = roundEngine();
  engine.addTask({
    name: 'long',
    cpu: 0,
    *body() {
      yield spend(Cost.userPage, 50_000); // 5 ms in one step
    },
  });
  engine.addTask({ name: 'short', cpu: 0, body: guest(50) });
  engine.run();
  const short = engine.report(1);
  expect(short.byCauseNs.runnable).toBe(sliceNs);
  expect(short.endNs).toBe(sliceNs + contextSwitchNs + 50_000);
});

test('kernel work keeps its CPU until it reaches a point where it may be preempted', () => {
  const kernel: Body = function* () {
    for (let i = 0; i < 300; i++) yield spend(Cost.faultPath); // 1 µs each, three slices
    yield spend(Cost.reschedule);
  };
  const startOfOther = (profile: typeof roundMachine): number => {
    const engine = roundEngine({ profile });
    engine.addTask({ name: 'kernel', cpu: 0, body: kernel });
    engine.addTask({ name: 'other', cpu: 0, body: guest(1) });
    engine.run();
    return engine.report(1).byCauseNs.runnable;
  };
  expect(startOfOther(roundMachine)).toBe(300_000);
  expect(startOfOther(anywhere)).toBe(sliceNs);
});

test('a preempted lock holder makes everybody wait for its next slice', () => {
  // Two tasks of CPU 0 and one of CPU 1 take a lock in turn; where its holder may be preempted, the third waits for slices.
  const lock = line(4);
  const worst = (profile: typeof roundMachine): number => {
    const engine = roundEngine({ profile, labels: [{ name: 'lock', base: lock, words: 16 }] });
    const locker: Body = function* ({ memory }) {
      for (let i = 0; i < 100; i++) {
        while (memory.xchg32(yield rmw(lock), 1) !== 0) yield wait(lock, 1);
        yield spend(Cost.faultPath, 5);
        memory.xchg32(yield rmw(lock), 0);
        yield spend(Cost.userPage, 20);
      }
    };
    for (const cpu of [0, 0, 1]) engine.addTask({ name: `t${cpu}`, cpu, body: locker });
    expect(engine.run()).toEqual({ status: 'done' });
    for (const { byCauseNs, endNs } of engine.reports()) expect(total(byCauseNs)).toBe(endNs);
    return engine.report(2).byCauseNs['waiting:lock'];
  };
  expect(worst(anywhere)).toBeGreaterThan(2 * worst(roundMachine));
});

test('a sleeper gives its CPU to the next task, and queues for it when it is woken', () => {
  const engine = roundEngine({ labels: [{ name: 'work', base: line(4), words: 16, sleeps: true }] });
  engine.addTask({
    name: 'sleeper',
    cpu: 0,
    *body({ memory }) {
      while (memory.load32(yield read(line(4))) === 0) yield wait(line(4), 0);
    },
  });
  engine.addTask({ name: 'guest', cpu: 0, body: guest(70) });
  engine.addTask({
    name: 'waker',
    cpu: 1,
    *body({ memory }) {
      yield spend(Cost.userPage, 500); // 50 µs
      memory.xchg32(yield rmw(line(4)), 1);
      yield wake(line(4), 1);
    },
  });
  expect(engine.run()).toEqual({ status: 'done' });
  const [sleeper, other] = engine.reports();
  // The guest ran from the moment that the sleeper was switched out, to its end; the sleeper waits out the rest of that.
  expect(other.byCauseNs.runnable).toBeLessThan(1500);
  expect(sleeper.byCauseNs.wakeup).toBeUndefined();
  expect(sleeper.byCauseNs.runnable).toBeGreaterThan(15_000);
  expect(sleeper.endNs).toBeGreaterThan(other.endNs);
  for (const { byCauseNs, endNs } of engine.reports()) expect(total(byCauseNs)).toBe(endNs);
});
