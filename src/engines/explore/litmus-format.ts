/**
 * The file format of litmus tests, and the checks of what is wrong with a file.
 *
 * `{"tests": [{"name", "threads": [[op, ...], ...], "final": [{...}, ...]}]}`, where an op is `["W", word, value]`
 * (store), `["R", word, register]` (load), `["F"]` (mfence), `["X", word, value, register]` (lock xchg) or
 * `["C", word, expected, new, register]` (lock cmpxchg), and `final` a list of alternatives, each a set of values by `thread:register`
 * and `[word]`. Words and registers start as 0. Expected verdicts (`SC`, `TSO`) and numbers of final states (`states`) are optional.
 */

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
