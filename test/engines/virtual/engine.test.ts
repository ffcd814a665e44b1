/** Running, stopping, failing; clocks and the scheduler's wishes as tasks see them. */
import { describe, expect, test } from 'vitest';
import { ultramem416 } from '../../../src/engines/virtual/profiles/index.ts';
import { Cost } from '../../../src/machine/cost.ts';
import { InvariantError } from '../../../src/machine/invariant.ts';
import { read, rmw, spend, wait, write } from '../../../src/machine/point.ts';
import type { Probe } from '../../../src/machine/probe.ts';
import { Thread } from '../../../src/machine/thread.ts';
import { addAll, type Body, line, roundEngine, roundMachine } from './round-machine.ts';

const busy = (us: number): Body =>
  function* (environment) {
    for (let i = 0; i < us; i++) yield spend(Cost.faultPath);
    return environment.now();
  };

test('a task has its own clock, its counters and a value', () => {
  const engine = roundEngine();
  const counters = new Float64Array(3);
  const times: number[] = [];
  const id = engine.addTask({
    name: 'vcpu0',
    cpu: 2,
    counters,
    startNs: 500,
    *body(environment) {
      const thread = new Thread(0, 'vcpu0', line(20), environment);
      thread.counters[1]++;
      times.push(thread.now());
      yield spend(Cost.faultPath, 3);
      times.push(thread.now());
      thread.memory.add32(yield rmw(line(4)), 5);
      return 'over';
    },
  });
  expect(engine.run()).toEqual({ status: 'done' });
  expect(times).toEqual([500, 3500]);
  expect(counters).toEqual(Float64Array.of(0, 1, 0));
  expect(engine.memory.words[line(4)]).toBe(5);
  expect(engine.report(id)).toMatchObject({ name: 'vcpu0', cpu: 2, done: true, value: 'over', startNs: 500, endNs: 3585 });
});

test('a probe is made with the clock of its task', () => {
  const engine = roundEngine();
  const seen: number[] = [];
  engine.addTask({
    name: 'vcpu0',
    cpu: 0,
    probe: (now) => ({ rcuReadLock: () => seen.push(now()) }) as unknown as Probe,
    *body(environment) {
      environment.probe?.rcuReadLock();
      yield spend(Cost.faultPath);
      environment.probe?.rcuReadLock();
    },
  });
  engine.run();
  expect(seen).toEqual([0, 1000]);
});

test('a run stops at a virtual deadline and goes on', () => {
  const engine = roundEngine();
  engine.addTask({ name: 'a', cpu: 0, body: busy(1000) });
  engine.addTask({ name: 'b', cpu: 1, body: busy(2000) });
  expect(engine.run({ untilNs: 500_000 })).toEqual({ status: 'deadline' });
  // Work that nobody else can see may run ahead a little.
  expect(engine.timeNs).toBeGreaterThanOrEqual(500_000);
  expect(engine.timeNs).toBeLessThan(600_000);
  expect(engine.progress().tasksLeft).toBe(2);
  expect(engine.run({ untilNs: 1_500_000 })).toEqual({ status: 'deadline' });
  expect(engine.report(0)).toMatchObject({ done: true, value: 1_000_000 });
  expect(engine.run()).toEqual({ status: 'done' });
  expect(engine.timeNs).toBe(2_000_000);
});

test('a task that never ends can be aborted, with progress on the way', async () => {
  const engine = roundEngine();
  engine.addTask({
    name: 'endless',
    cpu: 0,
    *body() {
      for (;;) yield spend(Cost.faultPath);
    },
  });
  const controller = new AbortController();
  const progress: number[] = [];
  const end = await engine.runAsync({
    signal: controller.signal,
    stepsBetween: 1000,
    onProgress: ({ steps, timeNs, tasksLeft }) => {
      progress.push(steps);
      expect(timeNs).toBeGreaterThan(0);
      expect(tasksLeft).toBe(1);
      if (progress.length === 5) controller.abort();
    },
  });
  expect(end).toEqual({ status: 'aborted' });
  expect(progress).toHaveLength(5);
  expect(progress[4]).toBeGreaterThanOrEqual(5000);
  expect(progress[4]).toBeLessThan(6000);
});

test('an asynchronous run ends as a synchronous one does', async () => {
  const engine = roundEngine();
  engine.addTask({ name: 'a', cpu: 0, body: busy(1000) });
  expect(await engine.runAsync({ stepsMax: 300, stepsBetween: 100 })).toEqual({ status: 'paused' });
  expect(await engine.runAsync({ stepsBetween: 100 })).toEqual({ status: 'done' });
  expect(engine.report(0).value).toBe(1_000_000);
});

test('an error of a task ends the run as data, and stays', () => {
  const engine = roundEngine();
  const error = new InvariantError('lock-not-held', 'vcpu1 does not hold mmu_lock');
  engine.addTask({ name: 'vcpu0', cpu: 0, body: busy(10) });
  engine.addTask({
    name: 'vcpu1',
    cpu: 1,
    *body() {
      yield spend(Cost.faultPath);
      throw error;
    },
  });
  expect(engine.run()).toEqual({ status: 'failed', task: 'vcpu1', error });
  expect(engine.run()).toEqual({ status: 'failed', task: 'vcpu1', error });
});

test('CPUs that are not there and too many tasks are refused', () => {
  const engine = roundEngine({ tasksMax: 1 });
  expect(() => engine.addTask({ name: 'x', cpu: 96, body: busy(1) })).toThrow('x: there is no CPU 96; round has 96');
  engine.addTask({ name: 'x', cpu: 95, body: busy(1) });
  expect(() => engine.addTask({ name: 'y', cpu: 0, body: busy(1) })).toThrow('more than 1 tasks');
});

test('labels that overlap are refused', () => {
  const labels = [
    { name: 'a', base: line(1), words: 17 },
    { name: 'b', base: line(2), words: 16 },
  ];
  expect(() => roundEngine({ labels })).toThrow('the words labelled b overlap those labelled a');
});

test('tasks may be added between runs, and begin now', () => {
  const engine = roundEngine();
  engine.addTask({ name: 'a', cpu: 0, body: busy(100) });
  engine.run();
  const id = engine.addTask({ name: 'b', cpu: 0, body: busy(50) });
  expect(engine.run()).toEqual({ status: 'done' });
  expect(engine.report(id)).toMatchObject({ startNs: 100_000, endNs: 150_000 });
});

test('416 CPUs run a task each', () => {
  const engine = roundEngine({ profile: ultramem416 });
  for (let i = 0; i < 416; i++) engine.addTask({ name: `vcpu${i}`, cpu: engine.topology.pin(i), body: busy(3) });
  expect(engine.run()).toEqual({ status: 'done' });
  expect(engine.reports().filter(({ done }) => done)).toHaveLength(416);
});

describe('need_resched', () => {
  const ticking = { ...roundMachine, scheduler: { ...roundMachine.scheduler, resched: 'tick' as const } };
  /** Works for 3 ms in steps of 1 µs and says at which of them need_resched() turned true. */
  const watcher = (yields: boolean, seen: number[]): Body =>
    function* (environment) {
      let before = false;
      while (environment.now() < 3_500_000) {
        yield spend(Cost.faultPath);
        const now = environment.needResched();
        if (now && !before) seen.push(environment.now());
        if (now && yields) yield spend(Cost.reschedule);
        before = environment.needResched();
      }
    };

  test('turns true at each tick until it is honoured', () => {
    const engine = roundEngine({ profile: ticking });
    const seen: number[] = [];
    engine.addTask({ name: 'a', cpu: 0, body: watcher(true, seen) });
    engine.run();
    expect(seen.map((ns) => Math.floor(ns / 1000))).toEqual([1000, 2000, 3000]);
    const { stretchMaxNs, reschedLateMaxNs } = engine.report(0);
    expect(stretchMaxNs).toBeGreaterThan(990_000);
    expect(stretchMaxNs).toBeLessThan(1_002_000);
    expect(reschedLateMaxNs).toBeLessThan(1000);
  });

  test('stays true while nobody heeds it, and the report says for how long', () => {
    const engine = roundEngine({ profile: ticking });
    const seen: number[] = [];
    engine.addTask({ name: 'a', cpu: 0, body: watcher(false, seen) });
    engine.run();
    expect(seen).toEqual([1_000_000]);
    expect(engine.report(0)).toMatchObject({ stretchMaxNs: 3_500_000, stretchEndNs: 3_500_000, reschedLateMaxNs: 2_500_000 });
  });

  test('never, where the profile says so', () => {
    const engine = roundEngine();
    const seen: number[] = [];
    engine.addTask({ name: 'a', cpu: 0, body: watcher(true, seen) });
    engine.run();
    expect(seen).toEqual([]);
  });

  test('contended: only while another task waits for the CPU', () => {
    const profile = { ...roundMachine, scheduler: { ...roundMachine.scheduler, resched: 'contended' as const } };
    for (const [rivals, expected] of [
      [0, 0],
      [1, 3],
    ]) {
      const engine = roundEngine({ profile });
      const seen: number[] = [];
      engine.addTask({ name: 'a', cpu: 0, body: watcher(true, seen) });
      for (let i = 0; i < rivals; i++) engine.addTask({ name: `r${i}`, cpu: 0, body: busy(3000) });
      engine.run();
      expect(seen.length).toBeGreaterThanOrEqual(Math.min(1, expected));
      expect(seen.length).toBeLessThanOrEqual(expected);
    }
  });
});

test('a task alone on its CPU works off what it owes after its first time slice as before it', () => {
  const engine = roundEngine();
  const word = line(4);
  addAll(engine, [
    function* watcher({ memory }) {
      for (let seen = 0; seen < 200; ) {
        yield wait(word, seen);
        seen = memory.load32(yield read(word));
      }
    },
    // Each write is watched, so the work after it is not done ahead of the others.
    function* writer({ memory }) {
      for (let i = 1; i <= 200; i++) {
        memory.store32(yield write(word), i);
        yield spend(Cost.reschedule, 100);
      }
    },
  ]);
  expect(engine.run({ stepsMax: 100_000 }).status).toBe('done');
  expect(engine.report(1).byCauseNs.reschedule).toBe(200 * 100 * 50);
  expect(engine.report(1).endNs).toBeGreaterThan(10 * roundMachine.scheduler.sliceNs - 1);
});
