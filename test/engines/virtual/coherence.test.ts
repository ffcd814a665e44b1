/** What accesses cost: by hand for few, and what theory says for many. */
import { expect, test } from 'vitest';
import { Cost } from '../../../src/machine/cost.ts';
import { fence, own, read, rmw, spend, type Task, write } from '../../../src/machine/point.ts';
import { addAll, type Body, line, REMOTE_CPU, roundEngine, roundMachine, SIBLING_CPU, total } from './round-machine.ts';

const { hitNs, atomicNs, fenceNs, storeNs } = roundMachine.access;
const { siblingNs, socketNs, remoteNs, memoryNs, fanoutNs } = roundMachine.transfer;

/** Pauses until `ns` (a multiple of 20) after the start. */
function* until(ns: number): Task<void> {
  yield spend(Cost.spteChange, ns / 20);
}

/** How long the step announced by `announce` takes a task on `cpu` at 10 µs, after `before` has run on CPU 0. */
function priceOn(cpu: number, before: () => Generator<number, unknown, never>, announce: () => number): number {
  const engine = roundEngine();
  let price = 0;
  addAll(
    engine,
    [
      before as unknown as Body,
      function* (environment) {
        yield* until(10_000);
        const start = environment.now();
        yield announce();
        price = environment.now() - start;
      },
    ],
    [0, cpu],
  );
  expect(engine.run()).toEqual({ status: 'done' });
  return price;
}

test.each([
  ['the same core', SIBLING_CPU, siblingNs],
  ['another core of the socket', 1, socketNs],
  ['another socket', REMOTE_CPU, remoteNs],
])('an atomic update of a line that %s updated pays the distance', (_, cpu, transferNs) => {
  function* before() {
    yield rmw(line(4));
  }
  expect(priceOn(cpu, before, () => rmw(line(4)))).toBe(transferNs + atomicNs);
});

test.each([
  ['the same core', SIBLING_CPU, 0],
  ['another core of the socket', 1, socketNs],
  ['another socket', REMOTE_CPU, remoteNs],
])('a load of a line that %s wrote pays the distance', (_, cpu, transferNs) => {
  function* before() {
    yield write(line(4));
  }
  expect(priceOn(cpu, before, () => read(line(4)))).toBe(transferNs + hitNs);
});

test('a line that nobody has comes from memory, and then it is there', () => {
  const engine = roundEngine();
  const times: number[] = [];
  addAll(engine, [
    function* (environment) {
      for (const step of [read(line(4)), read(line(4)), rmw(line(4)), write(line(4))]) {
        yield step;
        times.push(environment.now());
      }
    },
  ]);
  engine.run();
  expect(times).toEqual([
    memoryNs + hitNs,
    memoryNs + 2 * hitNs,
    memoryNs + 2 * hitNs + atomicNs,
    memoryNs + 2 * hitNs + atomicNs + storeNs,
  ]);
});

test('taking a shared line away pays for the farthest sharer', () => {
  for (const [readers, transferNs] of [
    [[1, 2], socketNs],
    [[1, REMOTE_CPU], remoteNs],
  ] as const) {
    const engine = roundEngine();
    let price = 0;
    const reader: Body = function* () {
      yield read(line(4));
    };
    addAll(
      engine,
      [
        reader,
        reader,
        function* (environment) {
          yield read(line(4));
          yield* until(10_000);
          const start = environment.now();
          yield rmw(line(4));
          price = environment.now() - start;
        },
      ],
      [...readers, 0],
    );
    engine.run();
    expect(price).toBe(transferNs + atomicNs);
  }
});

test('one task alone waits for nothing: an uncontended atomic costs the price of its line', () => {
  const engine = roundEngine();
  addAll(engine, [
    function* (environment) {
      for (let i = 0; i < 1000; i++) environment.memory.add32(yield rmw(line(4)), 1);
    },
  ]);
  engine.run();
  expect(engine.timeNs).toBe(memoryNs + 1000 * atomicNs);
  expect(engine.totals()).toEqual({ access: 1000 * atomicNs, lineTransfer: memoryNs });
});

test('own and fixed words are free', () => {
  const engine = roundEngine();
  addAll(engine, [
    function* (environment) {
      for (let i = 0; i < 100; i++) environment.memory.store32(own(line(9)), i);
    },
  ]);
  engine.run();
  expect(engine.timeNs).toBe(0);
  expect(engine.memory.words[line(9)]).toBe(99);
});

test.each([2, 8, 24])('%i cores of a socket that add to one word saturate at the rate of its line', (n) => {
  const engine = roundEngine();
  const adds = 500;
  const adder: Body = function* (environment) {
    for (let i = 0; i < adds; i++) environment.memory.add32(yield rmw(line(4)), 1);
  };
  addAll(engine, new Array(n).fill(adder));
  engine.run();
  expect(engine.memory.words[line(4)]).toBe(n * adds);
  // One transfer and one operation at a time; the first line comes from memory.
  const perAdd = socketNs + atomicNs;
  expect(engine.timeNs).toBeGreaterThan(0.99 * n * adds * perAdd);
  expect(engine.timeNs).toBeLessThanOrEqual(n * adds * perAdd + memoryNs);
});

test('adders to words of their own in one line are as slow; in lines of their own they scale', () => {
  const timeOf = (stride: number): number => {
    const engine = roundEngine();
    const adder = (i: number): Body =>
      function* (environment) {
        for (let k = 0; k < 200; k++) environment.memory.add32(yield rmw((line(4) + i * stride) as never), 1);
      };
    addAll(engine, [adder(0), adder(1), adder(2), adder(3)]);
    engine.run();
    return engine.timeNs;
  };
  expect(timeOf(16)).toBe(memoryNs + 200 * atomicNs);
  expect(timeOf(1)).toBeGreaterThan(0.99 * 4 * 200 * (socketNs + atomicNs));
});

test('readers of a line that nobody writes scale: only the first look of each pays', () => {
  const n = 24;
  const engine = roundEngine();
  const reader: Body = function* () {
    for (let i = 0; i < 1000; i++) yield read(line(4));
  };
  addAll(engine, new Array(n).fill(reader));
  engine.run();
  const worst = memoryNs + socketNs + n * fanoutNs + socketNs + 1000 * hitNs;
  expect(engine.timeNs).toBeLessThanOrEqual(worst);
  expect(engine.totals().access).toBe(n * 1000 * hitNs);
});

test('a plain store is hidden by the store buffer; an atomic or a fence after it waits for it', () => {
  const times: Record<string, number> = {};
  for (const [name, after] of [
    ['load', () => read(line(5))],
    ['atomic', () => rmw(line(5))],
    ['fence', () => fence()],
  ] as const) {
    const engine = roundEngine();
    addAll(engine, [
      function* (environment) {
        yield read(line(5)); // its line is there
        const start = environment.now();
        yield write(line(4)); // this one comes from memory
        yield after();
        times[name] = environment.now() - start;
      },
    ]);
    engine.run();
    expect(total(engine.report(0).byCauseNs)).toBe(engine.report(0).endNs);
  }
  expect(times).toEqual({ load: storeNs + hitNs, atomic: memoryNs + atomicNs, fence: memoryNs + fenceNs });
});

test('stores to a contended line stall once the store buffer is full', () => {
  const engine = roundEngine();
  const stores = 200;
  const storer: Body = function* () {
    for (let i = 0; i < stores; i++) yield write(line(4));
  };
  addAll(engine, [storer, storer]);
  engine.run();
  // Each store needs the other core's line, but for runs of stores while the line is here.
  expect(engine.totals().lineQueue).toBeGreaterThan(0);
  for (const { byCauseNs, endNs } of engine.reports()) expect(total(byCauseNs)).toBe(endNs);
});

test('a cleared page is in the cache of the CPU that cleared it', () => {
  const engine = roundEngine();
  const times: number[] = [];
  addAll(engine, [
    function* (environment) {
      environment.memory.fill32(own(line(8)), 0, 64);
      yield rmw(line(9));
      times.push(environment.now());
      yield rmw(line(12)); // behind the page
      times.push(environment.now());
    },
  ]);
  engine.run();
  expect(times).toEqual([atomicNs, atomicNs + memoryNs + atomicNs]);
});

test('the directory grows with the lines touched, not with the arena', () => {
  const engine = roundEngine({ words: 1 << 24 });
  const empty = engine.directoryBytes;
  addAll(engine, [
    function* () {
      for (let i = 0; i < 4; i++) yield read(line(i * 100_000));
    },
  ]);
  engine.run();
  expect(engine.directoryBytes - empty).toBeGreaterThan(0);
  expect(engine.directoryBytes).toBeLessThan(100_000);
});

test('the hottest line is the contended one, by its label', () => {
  const engine = roundEngine({ labels: [{ name: 'counter', base: line(4), words: 16 }] });
  const adder: Body = function* (environment) {
    yield read(line(5));
    for (let i = 0; i < 50; i++) environment.memory.add32(yield rmw(line(4)), 1);
  };
  addAll(engine, [adder, adder, adder]);
  engine.run();
  const [first, second] = engine.hottestLines(2);
  expect([first.address, first.label]).toEqual([line(4), 'counter']);
  expect(second.address).toBe(line(5));
  expect(first.stallNs).toBeGreaterThan(10 * second.stallNs);
});
