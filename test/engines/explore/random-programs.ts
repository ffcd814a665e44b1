/** Small random programs, and the search of all their interleavings, to hold reductions against. */

import { Access, conflict, isUntil, wholeSteps } from '../../../src/engines/explore/access.ts';
import { Frontier, type Lease } from '../../../src/engines/explore/dpor/frontier.ts';
import { type Reduction, ROOT_ITEM, TreeSearch } from '../../../src/engines/explore/dpor/tree-search.ts';
import {
  type Address,
  acquire,
  count,
  Execution,
  fence,
  type Memory,
  type MemoryModel,
  own,
  type Program,
  read,
  relax,
  rmw,
  type Task,
  wait,
  write,
  Xorshift,
} from '../../../src/explore.ts';

type Op =
  | 'read'
  | 'write'
  | 'cmpxchg'
  | 'add'
  | 'count'
  | 'wait'
  | 'acquire'
  | 'spin'
  | 'fence'
  | 'guarded'
  | 'until'
  | 'until-not'
  | 'share'
  | 'bias'
  | 'acquire-clear'
  | 'section';

/** What a random program may do: an operation, its word, two small numbers. */
type Instruction = readonly [Op, Address, number, number];

/** Words that threads share: two granules; and where each thread leaves what it saw. */
const RESULTS = 8;

/** A program of two to four threads and at most eight instructions out of `ops`. */
export function randomProgram(seed: number, ops: readonly Op[]): Program {
  const numbers = new Xorshift(seed, 17);
  const below = (n: number): number => numbers.below(n);
  const threads = 2 + below(3);
  const words = 1 + below(2);
  let left = 8;
  const code = Array.from({ length: threads }, () => {
    const length = Math.min(left, 1 + below(threads > 3 ? 2 : 3));
    left -= length;
    return Array.from({ length }, (): Instruction => [ops[below(ops.length)], (2 * below(words)) as Address, below(3), below(3)]);
  });
  return {
    name: JSON.stringify(code),
    words: RESULTS + 2 * threads,
    mayDeadlock: true,
    threads: code.map((instructions, t) => ({ name: `t${t}`, run: (m: Memory) => run(m, instructions, t) })),
  };
}

function* run(m: Memory, instructions: readonly Instruction[], t: number): Task<void> {
  let seen = 1;
  for (const [op, a, x, y] of instructions) {
    if (op === 'read') seen = 5 * seen + m.load32(yield read(a));
    else if (op === 'write') m.store32(yield write(a), x);
    else if (op === 'cmpxchg') seen = 5 * seen + m.cmpxchg32(yield rmw(a), x, y);
    else if (op === 'add') seen = 5 * seen + m.add32(yield rmw(a), 1);
    else if (op === 'count') m.add32(yield count(a), 1);
    else if (op === 'wait') yield wait(a, x);
    else if (op === 'acquire') m.xchg32(yield acquire(a, x), x);
    else if (op === 'fence') yield fence();
    else if (op === 'until') yield wholeSteps.untilClear(a, 1 + y);
    else if (op === 'until-not') yield wholeSteps.untilNot(a, x);
    else if (op === 'share') m.add32(yield wholeSteps.share(a, 1), 2);
    else if (op === 'bias') m.add32(yield count(a), -2);
    else if (op === 'acquire-clear') m.xchg32(yield wholeSteps.acquire(a, 1 + y), x);
    else if (op === 'section') {
      m.add32(yield rmw(a), 1);
      m.store32(yield write((2 - a) as Address), x);
      m.add32(yield rmw(a), 1);
    } else if (op === 'guarded') {
      if (m.load32(yield read(a)) === x) m.store32(yield write(a), y);
    } else {
      let value = m.load32(yield read(a));
      for (; value === x; value = m.load32(yield read(a))) yield relax(a);
      seen = 5 * seen + value;
    }
  }
  m.store32(own((RESULTS + 2 * t) as Address), seen);
}

/** What a search of a program came to. */
export interface Explored {
  /** How often each trace was explored: by its happens-before relation and how it ends. */
  readonly traces: Map<string, number>;
  readonly states: Set<string>;
  readonly blocked: number;
  /** Whether an execution ended with a thread that waits by an `until`: such ends are not looked for. */
  readonly waitsForEver: boolean;
}

/** Explores to the end; null where that takes more than `runsMax` executions. */
export function exploreAll(program: Program, reduction: Reduction, model: MemoryModel, runsMax = 60_000): Explored | null {
  const execution = new Execution(program, model);
  const search = new TreeSearch(execution, reduction, { preemptions: Number.POSITIVE_INFINITY, depth: 1000 });
  const traces = new Map<string, number>();
  const states = new Set<string>();
  let blocked = 0;
  let waitsForEver = false;
  let runs = 0;
  search.load(ROOT_ITEM);
  do {
    if (runs++ > runsMax) return null;
    const end = search.run();
    if (end === 'blocked') {
      blocked++;
      continue;
    }
    waitsForEver ||= end === 'deadlock' && execution.pending.some((step) => step >= 0 && isUntil(step & 15));
    const trace = end + traceOf(execution);
    traces.set(trace, (traces.get(trace) ?? 0) + 1);
    states.add(end + execution.memory.hash());
  } while (search.advance());
  return { traces, states, blocked, waitsForEver };
}

/** The same by several searchers that take turns, and give levels away, at random. */
export function exploreShared(program: Program, reduction: Reduction, seed: number): Explored {
  const numbers = new Xorshift(seed, 23);
  const frontier = new Frontier(reduction);
  const traces = new Map<string, number>();
  const states = new Set<string>();
  let blocked = 0;
  const searchers = [0, 1, 2].map(() => {
    const search = new TreeSearch(new Execution(program), reduction, { preemptions: Number.POSITIVE_INFINITY, depth: 1000 });
    const searcher = { search, lease: null as Lease | null };
    search.onReversal = (depth, { task, access, length }) => {
      frontier.reverse(searcher.lease as Lease, depth, task.slice(0, length), access.slice(0, length));
    };
    return searcher;
  });
  while (frontier.available || searchers.some((s) => s.lease !== null)) {
    const searcher = searchers[numbers.below(searchers.length)];
    const { search } = searcher;
    if (searcher.lease === null) {
      searcher.lease = frontier.take();
      if (searcher.lease === null) continue;
      search.load(searcher.lease.item);
    }
    const end = search.run();
    const { execution } = search;
    if (end === 'blocked') {
      blocked++;
    } else {
      const trace = end + traceOf(execution);
      traces.set(trace, (traces.get(trace) ?? 0) + 1);
      states.add(end + execution.memory.hash());
    }
    const dice = numbers.below(6);
    const levels = dice === 0 ? search.give() : dice === 1 ? search.giveAll() : null;
    if (levels !== null) frontier.give(searcher.lease, levels);
    if (dice === 1 || !search.advance()) {
      frontier.finish();
      searcher.lease = null;
    }
  }
  return { traces, states, blocked, waitsForEver: false };
}

/**
 * The trace of an execution: each step with what happens before it, as conflicts and the order of each task make it. Steps that
 * only wait are left out: where they stand among the others does not matter.
 */
function traceOf(execution: Execution): string {
  const { task, access, length, taskCount } = execution;
  const steps = new Array<number>(taskCount).fill(0);
  const clocks: number[][] = [];
  const lines: string[] = [];
  for (let j = 0; j < length; j++) {
    if ((access[j] & 3) === Access.until) {
      clocks.push(new Array<number>(taskCount).fill(0));
      continue;
    }
    const clock = new Array<number>(taskCount).fill(0);
    for (let e = 0; e < j; e++) {
      if (task[e] !== task[j] && !conflict(access[e], access[j])) continue;
      for (let t = 0; t < taskCount; t++) clock[t] = Math.max(clock[t], clocks[e][t]);
    }
    clock[task[j]] = ++steps[task[j]];
    clocks.push(clock);
    lines.push(`${task[j]}.${steps[task[j]]}=${access[j]}<${clock}`);
  }
  return lines.sort().join(' ');
}
