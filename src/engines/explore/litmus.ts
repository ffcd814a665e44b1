/**
 * Litmus tests: a few instructions a thread, and a condition on the final state. The explorer runs each to the end under
 * sequential consistency and under x86's store buffers, and says whether the condition can come about.
 *
 * The format: `{"tests": [{"name", "threads": [[op, ...], ...], "final": [{...}, ...]}]}`, where an op is `["W", word, value]`
 * (store), `["R", word, register]` (load), `["F"]` (mfence), `["X", word, value, register]` (lock xchg) or
 * `["C", word, expected, new, register]` (lock cmpxchg), and `final` a list of alternatives, each a set of values by `thread:register`
 * and `[word]`. Words and registers start as 0. Expected verdicts (`SC`, `TSO`) and numbers of final states (`states`) are optional.
 */
import type { Memory } from '../../machine/memory.ts';
import { type Address, fence, own, read, rmw, type Task, write } from '../../machine/point.ts';
import { ROOT_ITEM, TreeSearch } from './dpor/tree-search.ts';
import { Execution } from './execution.ts';
import type { MemoryModel, Program } from './program.ts';

export type LitmusOp =
  | readonly ['W', string, number]
  | readonly ['R', string, string]
  | readonly ['F']
  | readonly ['X', string, number, string]
  | readonly ['C', string, number, number, string];

export type Verdict = 'Allowed' | 'Forbidden';

export interface LitmusTest {
  readonly name: string;
  readonly threads: readonly (readonly LitmusOp[])[];
  readonly final: readonly Readonly<Record<string, number>>[];
  readonly note?: string;
  readonly SC?: Verdict;
  readonly TSO?: Verdict;
  readonly states?: { readonly SC?: number; readonly TSO?: number };
}

/** What a test came to under one memory model. */
export interface LitmusOutcome {
  readonly verdict: Verdict;
  /** Distinct final states of all words and registers. */
  readonly states: number;
  /** Traces that were explored. */
  readonly executions: number;
}

export interface LitmusResult {
  readonly name: string;
  readonly SC: LitmusOutcome;
  readonly TSO: LitmusOutcome;
  /** Whether verdicts and numbers equal the ones that the test gives; null where it gives none. */
  readonly agrees: boolean | null;
}

/** A litmus file that cannot be understood: says which test, and where. */
export class LitmusError extends Error {
  override readonly name = 'LitmusError';
}

/** Arguments of each instruction. */
const SHAPES: Readonly<Record<string, readonly string[]>> = {
  W: ['word', 'value'],
  R: ['word', 'register'],
  F: [],
  X: ['word', 'value', 'register'],
  C: ['word', 'value', 'value', 'register'],
};

/** Reads a file of litmus tests. @throws {LitmusError} */
export function parseLitmus(text: string): LitmusTest[] {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new LitmusError(`the file is no JSON: ${(error as Error).message}`);
  }
  const tests = (file as { tests?: unknown } | null)?.tests;
  if (!Array.isArray(tests)) throw new LitmusError('the file has no list "tests"');
  return tests.map((test, i) => parseTest(test, i));
}

function parseTest(test: unknown, index: number): LitmusTest {
  const { name, threads, final, SC, TSO, states } = (test ?? {}) as Record<string, unknown>;
  if (typeof name !== 'string' || name === '') throw new LitmusError(`test ${index + 1} has no name`);
  const reject = (message: string): never => {
    throw new LitmusError(`test "${name}": ${message}`);
  };
  if (!Array.isArray(threads) || threads.length === 0) reject('"threads" is no list of threads');
  const known = new Set<string>();
  for (const [t, ops] of (threads as unknown[]).entries()) {
    if (!Array.isArray(ops)) reject(`thread ${t} is no list of instructions`);
    for (const [i, op] of (ops as unknown[]).entries())
      parseOp(op, t, known, (m) => reject(`thread ${t}, instruction ${i + 1}: ${m}`));
  }
  if (!Array.isArray(final) || final.length === 0) reject('"final" is no list of alternatives');
  for (const alternative of final as unknown[]) {
    if (typeof alternative !== 'object' || alternative === null) reject('an alternative of "final" is no object');
    for (const [key, value] of Object.entries(alternative as object)) {
      if (!known.has(key)) reject(`"final" names ${key}, which no instruction touches`);
      if (!Number.isInteger(value)) reject(`"final" wants ${key} to be ${JSON.stringify(value)}, which is no integer`);
    }
  }
  for (const verdict of [SC, TSO]) {
    if (verdict !== undefined && verdict !== 'Allowed' && verdict !== 'Forbidden')
      reject(`${JSON.stringify(verdict)} is no verdict`);
  }
  if (states !== undefined && (typeof states !== 'object' || states === null)) reject('"states" is no object');
  return test as LitmusTest;
}

function parseOp(op: unknown, thread: number, known: Set<string>, reject: (message: string) => never): void {
  if (!Array.isArray(op)) reject(`${JSON.stringify(op)} is no instruction`);
  const [name, ...args] = op as unknown[];
  const shape = SHAPES[String(name)];
  if (shape === undefined)
    reject(`there is no instruction ${JSON.stringify(name)}: take one of ${Object.keys(SHAPES).join(', ')}`);
  if (args.length !== shape.length) reject(`${name} takes ${shape.length} arguments (${shape.join(', ')}), not ${args.length}`);
  for (const [i, kind] of shape.entries()) {
    const value = args[i];
    if (kind === 'value') {
      if (!Number.isInteger(value)) reject(`${JSON.stringify(value)} is no integer`);
    } else {
      if (typeof value !== 'string' || value === '') reject(`${JSON.stringify(value)} is no name of a ${kind}`);
      known.add(kind === 'word' ? `[${value}]` : `${thread}:${value}`);
    }
  }
}

/** A litmus test as a program, and where its words and registers are. */
export function litmusProgram(test: LitmusTest): { program: Program; places: ReadonlyMap<string, number> } {
  const places = new Map<string, number>();
  const place = (name: string): Address => {
    let a = places.get(name);
    if (a === undefined) places.set(name, (a = 2 * places.size));
    return a as Address;
  };
  for (const [t, ops] of test.threads.entries()) {
    for (const op of ops) {
      if (op[0] === 'F') continue;
      place(`[${op[1]}]`);
      if (op[0] !== 'W') place(`${t}:${op.at(-1)}`);
    }
  }
  function* run(m: Memory, t: number): Task<void> {
    const set = (register: string, value: number): void => m.store32(own(place(`${t}:${register}`)), value);
    for (const op of test.threads[t]) {
      if (op[0] === 'F') {
        yield fence();
        continue;
      }
      const a = place(`[${op[1]}]`);
      if (op[0] === 'W') m.store32(yield write(a), op[2]);
      else if (op[0] === 'R') set(op[2], m.load32(yield read(a)));
      else if (op[0] === 'X') set(op[3], m.xchg32(yield rmw(a), op[2]));
      else set(op[4], m.cmpxchg32(yield rmw(a), op[2], op[3]));
    }
  }
  const threads = test.threads.map((_, t) => ({ name: `P${t}`, run: (m: Memory) => run(m, t) }));
  return { program: { name: test.name, words: Math.max(2, 2 * places.size), threads }, places };
}

/** Runs a test to its end under one memory model. */
export function exploreLitmus(test: LitmusTest, model: MemoryModel): LitmusOutcome {
  const { program, places } = litmusProgram(test);
  const execution = new Execution(program, model);
  const search = new TreeSearch(execution, 'optimal', { preemptions: Number.POSITIVE_INFINITY, depth: Number.POSITIVE_INFINITY });
  const states = new Set<string>();
  const { words } = execution.memory;
  const addresses = [...places.values()];
  let verdict: Verdict = 'Forbidden';
  let executions = 0;
  search.load(ROOT_ITEM);
  do {
    if (search.run() !== 'complete') continue;
    executions++;
    states.add(addresses.map((a) => words[a]).join(' '));
    const holds = test.final.some((f) => Object.entries(f).every(([name, value]) => words[places.get(name) as number] === value));
    if (holds) verdict = 'Allowed';
  } while (search.advance());
  return { verdict, states: states.size, executions };
}

/** Runs a test under both memory models, and compares with what it expects. */
export function runLitmus(test: LitmusTest): LitmusResult {
  const SC = exploreLitmus(test, 'sc');
  const TSO = exploreLitmus(test, 'tso');
  const expected = [
    [test.SC, SC.verdict],
    [test.TSO, TSO.verdict],
    [test.states?.SC, SC.states],
    [test.states?.TSO, TSO.states],
  ].filter(([wanted]) => wanted !== undefined);
  return { name: test.name, SC, TSO, agrees: expected.length === 0 ? null : expected.every(([wanted, got]) => wanted === got) };
}
