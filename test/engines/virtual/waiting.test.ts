/** Spinning, sleeping, waking, and nobody left to wake. */
import { describe, expect, test } from 'vitest';
import { Cost } from '../../../src/machine/cost.ts';
import { read, rmw, spend, wait, wake, write } from '../../../src/machine/point.ts';
import { addAll, type Body, line, REMOTE_CPU, roundEngine, roundMachine, total } from './round-machine.ts';

const FLAG = line(4);
const { hitNs, storeNs } = roundMachine.access;
const { memoryNs, socketNs, remoteNs, fanoutNs } = roundMachine.transfer;
const { contextSwitchNs, wakeNs, wakeupNs } = roundMachine.scheduler;

const waiter: Body = function* (environment) {
  while (environment.memory.load32(yield read(FLAG)) === 0) yield wait(FLAG, 0);
  return environment.now();
};

/** Sets the flag at about 100 µs. */
const setter: Body = function* (environment) {
  yield spend(Cost.faultPath, 100);
  environment.memory.store32(yield write(FLAG), 1);
  return environment.now();
};

test.each([
  ['a core of the socket', 1, socketNs],
  ['another socket', REMOTE_CPU, remoteNs],
])('a spinner sees a store by %s after the transfers of its line', (_, cpu, transferNs) => {
  const engine = roundEngine();
  addAll(engine, [waiter, setter], [0, cpu]);
  engine.run();
  const [spinner, writer] = engine.reports();
  // The line goes to the writer and back; the waiter looks once more.
  expect(spinner.value).toBe((writer.value as number) - storeNs + 2 * transferNs + 2 * hitNs);
  expect(spinner.byCauseNs['waiting:other']).toBe(100_000 + transferNs - (memoryNs + 2 * hitNs));
  expect(total(spinner.byCauseNs)).toBe(spinner.endNs);
});

test('many spinners on one line queue for it', () => {
  const n = 10;
  const engine = roundEngine();
  addAll(engine, [setter, ...new Array<Body>(n).fill(waiter)]);
  engine.run();
  const seen = engine
    .reports()
    .slice(1)
    .map(({ value }) => value as number)
    .sort((a, b) => a - b);
  const first = 100_000 + 2 * socketNs + 2 * hitNs;
  expect(seen[0]).toBe(first);
  // The first brings the line back from the writer's cache; the directory serves the rest one by one.
  expect(seen.slice(1)).toEqual(Array.from({ length: n - 1 }, (_, i) => first + socketNs + i * fanoutNs));
});

test('a spinner sleeps on while other words of its line are written, and pays for the line each time', () => {
  const engine = roundEngine();
  addAll(engine, [
    waiter,
    function* (environment) {
      for (let i = 0; i < 10; i++) {
        yield spend(Cost.faultPath, 10);
        environment.memory.add32(yield rmw((FLAG + 1) as never), 1);
      }
      environment.memory.store32(yield write(FLAG), 1);
    },
  ]);
  engine.run();
  const spinner = engine.report(0);
  expect(spinner.steps).toBeLessThan(6);
  expect(spinner.byCauseNs.lineTransfer).toBe(memoryNs + 11 * socketNs);
});

test('a word that has changed already is not waited for', () => {
  const engine = roundEngine();
  engine.memory.words[FLAG] = 7;
  addAll(engine, [
    function* () {
      yield wait(FLAG, 0);
    },
  ]);
  expect(engine.run()).toEqual({ status: 'done' });
  expect(engine.timeNs).toBe(memoryNs + hitNs);
});

describe('sleeping', () => {
  const labels = [{ name: 'slots_lock', base: FLAG, words: 16, sleeps: true }];
  const waker = (n: number): Body =>
    function* (environment) {
      yield* setter(environment);
      const start = environment.now();
      yield wake(FLAG, n);
      return environment.now() - start;
    };

  test('a sleeper is switched out, woken at the price of a wake-up, and switched in', () => {
    const engine = roundEngine({ labels });
    addAll(engine, [waiter, waker(1)]);
    engine.run();
    const [sleeper, other] = engine.reports();
    expect(other.value).toBe(wakeNs);
    expect(sleeper.byCauseNs).toMatchObject({ contextSwitch: contextSwitchNs, wakeup: wakeupNs });
    expect(sleeper.value).toBe(other.endNs + wakeupNs + socketNs + hitNs);
    expect(total(sleeper.byCauseNs)).toBe(sleeper.endNs);
    expect(engine.lostWakes).toBe(0);
  });

  test('a wake-up of n wakes the n that have slept longest, and costs n times the price', () => {
    const engine = roundEngine({ labels });
    const order: number[] = [];
    const sleeper = (i: number): Body =>
      function* (environment) {
        yield spend(Cost.faultPath, i + 1);
        yield wait(FLAG, 0);
        order.push(i);
        if (i < 2) yield wake(FLAG, 1);
        return environment.now();
      };
    addAll(engine, [sleeper(0), sleeper(1), sleeper(2), sleeper(3), waker(2)]);
    engine.run();
    expect(order).toEqual([0, 1, 2, 3]);
    expect(engine.report(4).value).toBe(2 * wakeNs);
  });

  test('waking nobody is free', () => {
    const engine = roundEngine({ labels });
    addAll(engine, [waker(1)]);
    engine.run();
    expect(engine.report(0).value).toBe(0);
  });

  test('a forgotten wake-up is found when nothing else can run, late and counted', () => {
    const engine = roundEngine({ labels });
    addAll(engine, [waiter, setter]);
    expect(engine.run()).toEqual({ status: 'done' });
    expect(engine.lostWakes).toBe(1);
    expect(engine.report(0).endNs).toBeGreaterThan(20e6);
  });

  test('of several sleepers only those whose word has changed are found', () => {
    const engine = roundEngine({ labels });
    addAll(engine, [
      function* () {
        yield spend(Cost.faultPath, 200);
        yield wait(FLAG, 1); // what the word holds by then
      },
      waiter,
      setter,
    ]);
    expect(engine.run()).toMatchObject({ status: 'deadlock', blocked: [{ name: 't0', state: 'sleeping', expected: 1 }] });
    expect(engine.report(1).done).toBe(true);
    expect(engine.lostWakes).toBe(1);
  });

  test('daemons that sleep for ever do not keep the run from ending', () => {
    const engine = roundEngine({ labels });
    engine.addTask({ name: 'worker', cpu: 1, daemon: true, body: waiter });
    addAll(engine, [
      function* () {
        yield spend(Cost.faultPath);
      },
    ]);
    expect(engine.run()).toEqual({ status: 'done' });
    expect(engine.report(0).done).toBe(false);
  });
});

describe('deadlock', () => {
  test('tells who waits for what since when', () => {
    const engine = roundEngine({
      labels: [
        { name: 'mmu_lock', base: line(4), words: 16 },
        { name: 'slots_lock', base: line(5), words: 16, sleeps: true },
      ],
    });
    addAll(engine, [
      function* () {
        yield spend(Cost.faultPath);
        yield wait(line(4), 0);
      },
      function* () {
        yield wait(line(5), 0);
      },
      function* () {
        yield spend(Cost.faultPath, 3);
      },
    ]);
    const end = engine.run();
    expect(end.status).toBe('deadlock');
    if (end.status !== 'deadlock') return;
    expect(end.blocked.map(({ text }) => text)).toEqual([
      't0 is spinning since 1081 ns until word 64 (mmu_lock) is no longer 0',
      't1 is sleeping since 1081 ns until word 80 (slots_lock) is no longer 0',
    ]);
    expect(end.blocked[1]).toMatchObject({ name: 't1', cpu: 1, state: 'sleeping', address: 80, value: 0, expected: 0 });
  });

  test('a spinner that keeps the CPU from the one it waits for is one', () => {
    const engine = roundEngine();
    engine.addTask({ name: 'spinner', cpu: 0, body: waiter });
    engine.addTask({ name: 'holder', cpu: 0, body: setter });
    const end = engine.run();
    expect(end.status).toBe('deadlock');
    if (end.status !== 'deadlock') return;
    expect(end.blocked.map(({ state }) => state)).toEqual(['spinning', 'runnable']);
    expect(end.blocked[1].text).toContain('CPU 0 is taken by a spinning task');
  });

  test('the same pair gets on where spinners can be preempted', () => {
    const profile = { ...roundMachine, scheduler: { ...roundMachine.scheduler, preemption: 'anywhere' as const } };
    const engine = roundEngine({ profile });
    engine.addTask({ name: 'spinner', cpu: 0, body: waiter });
    engine.addTask({
      name: 'holder',
      cpu: 0,
      *body({ memory }) {
        yield spend(Cost.faultPath, 50);
        memory.store32(yield write(FLAG), 1);
      },
    });
    expect(engine.run()).toEqual({ status: 'done' });
    const { sliceNs } = roundMachine.scheduler;
    const [spinner, holder] = engine.reports();
    expect(spinner.byCauseNs['waiting:other']).toBeGreaterThan(0.99 * sliceNs);
    expect(holder.byCauseNs.runnable).toBe(sliceNs);
    expect(spinner.byCauseNs.runnable).toBeCloseTo(50_000 + contextSwitchNs + storeNs, -3);
    for (const { byCauseNs, endNs } of engine.reports()) expect(total(byCauseNs)).toBe(endNs);
  });
});
