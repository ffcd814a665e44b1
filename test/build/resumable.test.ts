/** A coroutine and the functions that the build makes of it do the same, wherever they are suspended. */
import { describe, expect, it } from 'vitest';
import { makeResumable } from '../../src/build/resumable/module.mjs';
import * as runtime from '../../src/machine/point.resumable.ts';
import type { Granted, Step } from '../../src/machine/point.ts';
import { seededPick } from '../../src/machine/run.ts';

/** A bit of everything that the single source is written with. `point(n)` announces a step; its value is what comes of it. */
const SOURCE = `
class Counter {
  #n = 0;
  *add(by) { this.#n += yield point(by); return yield* this.#doubled(); }
  *#doubled() { const one = yield point(this.#n); return one + (yield point(this.#n)); }
  static *of(n) { const c = new Counter(); yield* c.add(n); return c; }
}
function* tail(n) { return n <= 0 ? yield point(1) : yield* tail(n - 1); }
function* nothing() { return 5; }
function* list(n) { return [1, 2, yield point(n)]; }
function* loops(n) {
  let sum = 0;
  for (let i = yield point(0); i < n; i += yield point(1)) {
    if (i % 3 === 1) continue;
    for (const j of [1, 2, 3]) {
      if (j === 2) continue;
      sum += j * (yield point(i));
      if (sum > 200) break;
    }
    while ((yield point(sum)) % 4 !== 0) { sum++; if (sum % 7 === 0) break; }
    do sum += yield point(3); while ((yield point(sum)) % 5 !== 0 && sum < 500);
  }
  for (const k of yield* list(n)) {
    const twice = 2 * k;
    if (twice === 4) continue;
    sum += twice;
  }
  for (const { a, b = 4 } of [{ a: 1 }, { a: 2, b: 3 }]) sum += a * b * (yield point(b));
  return sum;
}
function* choices(x) {
  const one = x > 3 ? yield point(1) : x > 2 ? yield* tail(2) : 7;
  const two = x % 2 === 0 && (yield point(2)) > 1;
  const three = (yield point(x)) || (yield point(9));
  const four = null ?? (yield point(4));
  if (yield* nothing()) { const inner = yield point(6); if (!(yield point(inner))) return [one]; else yield point(8); }
  else throw new Error('unreachable');
  switch (x) {
    case 0: { const y = yield point(20); return [one, y]; }
    case 1:
      yield point(21);
    case 2: yield point(22); break;
    default: if (x > 4) yield* tail(x);
  }
  return [one, two, three, four, \`\${one}-\${yield point(5)}-\${x}\`];
}
function* order(o) {
  const log = [];
  const note = (what) => { log.push(what); return what; };
  const made = { a: note(1), b: yield point(note(2)), ...{ c: note(3) } };
  o.value = note(4) + (yield point(note(5))) + note(6);
  o.value += yield point(7);
  const [first, , third] = [note(o.value), yield point(8), !(yield point(9))];
  o.list.push(note('x'), yield point(10), -(yield point(11)));
  let late;
  if (first > 3) late = yield point(12);
  late ??= 1;
  return { made, first, third, late, log, o };
}
function* nested(n) {
  const state = { total: 0 };
  function* round(k) { state.total += k * (yield point(k)); return yield* inner(k); }
  const inner = function* (k) { return state.total + (yield point(k)) + n; };
  const hooks = { *visit(k) { return yield* round(k); } };
  let all = 0;
  for (let k = 0; k < 3; k++) all += yield* hooks.visit(k);
  return all;
}
function* main(seed) {
  const results = [];
  for (let x = 0; x < 6; x++) results.push(yield* choices(x));
  results.push(yield* loops(9), yield* order({ value: seed, list: [] }), yield* nested(seed), yield* tail(4));
  const counter = yield* Counter.of(seed);
  results.push(yield* counter.add(3));
  return results;
}
return main;
`;

const answer = (n: number): number => (n * 7 + 3) % 11;

/** The program as it was written; every point is logged and answered. */
function asWritten(seed: number): unknown {
  const log: number[] = [];
  const main = new Function('point', SOURCE)((n: number) => n) as (seed: number) => Generator<number, unknown, number>;
  const task = main(seed);
  let turn = task.next();
  while (!turn.done) {
    log.push(turn.value);
    turn = task.next(answer(turn.value));
  }
  return { log, result: turn.value };
}

/** What the build makes of it, suspended where `suspends` says so. */
function asBuilt(seed: number, suspends: () => boolean): unknown {
  const log: number[] = [];
  const built = makeResumable(`function program() {${SOURCE}}`, 'a.ts', 'runtime')!.code.replace(/\nimport .*\n/, '\n');
  const point = (n: number): Step => {
    log.push(n);
    return suspends() ? -1 - n : answer(n);
  };
  const program = new Function('point', '$suspended', '$park', '$unwind', `'use strict';\n${built}\nreturn program;`);
  const main = program(point, runtime.suspended, runtime.park, runtime.unwind)();
  const runner = runtime.runnerOf(() => main(seed));
  let step = runner.resume(0 as Granted);
  while (step !== runtime.ENDED) step = runner.resume(answer(-1 - step) as Granted);
  return { log, result: runner.result };
}

describe('makeResumable', () => {
  it.each([1, 2, 3])('does what was written, suspended always, never, and now and then (%i)', (seed) => {
    const expected = asWritten(seed);
    expect(asBuilt(seed, () => false)).toEqual(expected);
    expect(asBuilt(seed, () => true)).toEqual(expected);
    for (let run = 0; run < 16; run++) {
      const pick = seededPick(1000 * seed + run);
      const share = 1 + (run % 4);
      expect(asBuilt(seed, () => pick([0, 1, 2, 3]) < share)).toEqual(expected);
    }
  });

  it('hands on what a coroutine throws', () => {
    const code = makeResumable('function* f(n) { if ((yield point(n)) > 0) throw new Error("no"); }', 'a.ts', 'r')!.code;
    const f = new Function('point', '$park', '$suspended', `${code.replace(/\nimport .*\n/, '\n')}\nreturn f;`);
    const runner = runtime.runnerOf(() => f((n: number) => -1 - n, runtime.park, runtime.suspended)(1));
    expect(runner.resume(0 as Granted)).toBe(-2);
    expect(() => runner.resume(1 as Granted)).toThrow('no');
  });

  it('knows the method of an object by its own star, which may be the only one', () => {
    const code = makeResumable('const o = { *double(n) { return 2 * (yield point(n)); } };', 'a.ts', 'r')!.code;
    const o = new Function('point', '$park', '$suspended', `${code.replace(/\nimport .*\n/, '\n')}\nreturn o;`);
    const runner = runtime.runnerOf(() => o((n: number) => -1 - n, runtime.park, runtime.suspended).double(4));
    expect(runner.resume(0 as Granted)).toBe(-5);
    runner.resume(21 as Granted);
    expect(runner.result).toBe(42);
  });

  it('leaves functions alone that are no coroutines', () => {
    expect(makeResumable('export const a = () => 1;', 'a.ts', 'r')).toBeNull();
  });

  it.each([
    ['function* f() { yield; }', /announces nothing/],
    ['function* f(a) { try { yield read(a); } finally { g(); } }', /TryStatement is not supported/],
    [
      'function* f(a) { const x = 1; { const x = yield read(a); g(x); } return x; }',
      /x is declared within the scope of another x/,
    ],
    ['function* f(a) { let n = 0; each(() => n++); yield read(a); return n; }', /n is set again, and used by a function/],
    ['function* f(a) { return a.b?.(yield read(a)); }', /ChainExpression is not supported/],
    ['async function* f(a) { yield read(a); }', /async generator/],
  ])('rejects %s', (code, message) => {
    expect(() => makeResumable(code, 'a.ts', 'r')).toThrow(message);
  });
});
