/**
 * Litmus tests: a few instructions a thread, and a condition on the final state. The explorer runs each to the end under
 * sequential consistency and under x86's store buffers, and says whether the condition can come about. The format is in `litmus-format.ts`.
 */
import type { Memory } from '../../machine/memory.ts';
import { type Address, fence, own, read, rmw, type Task, write } from '../../machine/point.ts';
import { ROOT_ITEM, TreeSearch } from './dpor/tree-search.ts';
import { Execution } from './execution.ts';
import type { LitmusTest, Verdict } from './litmus-format.ts';
import type { MemoryModel, Program } from './program.ts';

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
