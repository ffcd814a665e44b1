/**
 * Runs a search from its options to its report: the front of the explorer.
 */
import { type Checkpoint, readCheckpoint, searchKey, writeCheckpoint } from './checkpoint.ts';
import { Frontier } from './dpor/frontier.ts';
import { Execution } from './execution.ts';
import { type SearchContext, sampleHere, searchHere } from './local-search.ts';
import { completeOptions, ExploreOptionError, type ExploreOptions } from './options.ts';
import { sampleInPool, searchInPool } from './pool-search.ts';
import { type Finding, type Program, programHash } from './program.ts';
import { isProgram, loadProgram, type ProgramSource } from './program-source.ts';
import { ProgressMeter } from './progress.ts';
import { shrink, switchesOf } from './shrink.ts';
import { StopCheck, type StopReason } from './stop.ts';
import { type Failure, Tally } from './tally.ts';
import { formatToken } from './token.ts';

/** A broken rule, and how to see it again. */
export interface ExploreFinding extends Finding {
  /** Replays the schedule: see `replay`. */
  readonly token: string;
  /** The task of each step, shrunk where `shrink` was asked for. */
  readonly schedule: readonly number[];
  /** Context switches of the schedule. */
  readonly switches: number;
  /** Steps of the schedule before it was shrunk. */
  readonly stepsFound: number;
  readonly switchesFound: number;
  /** Number of the execution that broke the rule. */
  readonly execution: number;
}

export interface ExploreReport {
  readonly program: string;
  /** What replay tokens of this program and memory model carry. */
  readonly hash: number;
  /**
   * Whether everything was explored: all traces (or interleavings), with no bound reached. Only then does the absence of
   * findings prove anything.
   */
  readonly complete: boolean;
  /** Whether everything within the bound of preemptions was explored: every interleaving that keeps to it. */
  readonly completeWithinBound: boolean;
  readonly stopped: StopReason;
  /** Executions that came to an end. Under optimal reduction, the number of traces. */
  readonly executions: number;
  readonly deadlocks: number;
  /** Executions given up because their continuations had been explored elsewhere; none under optimal reduction. */
  readonly blocked: number;
  /** Executions that a bound cut, or kept from trying a choice. */
  readonly cut: { readonly preemptions: number; readonly depth: number };
  /** Whether reversals of waits by sums of many counts were left out. */
  readonly approximate: boolean;
  /** Distinct final states. */
  readonly states: number;
  readonly steps: number;
  readonly stepsMax: number;
  /** Executions that were run twice and did the same. */
  readonly repeated: number;
  readonly seconds: number;
  /** Executions that came by each mark. */
  readonly marks: Readonly<Record<string, number>>;
  readonly missingMarks: readonly string[];
  readonly findings: readonly ExploreFinding[];
}

/**
 * Explores a program.
 *
 * @throws {ExploreOptionError} where options contradict each other, or a module has no program
 * @throws {InvariantError} of rule `nondeterminism` where the program does not repeat itself
 */
export async function explore(from: Program | ProgramSource, asked: Partial<ExploreOptions> = {}): Promise<ExploreReport> {
  const options = completeOptions(asked);
  if (options.jobs > 1 && isProgram(from)) {
    throw new ExploreOptionError('jobs above 1 need a program given by module: functions cannot cross to other threads');
  }
  const program = await loadProgram(from);
  const hash = programHash(program, new Execution(program, options.memory).memory.initial, options.memory);
  const earlier = options.resume === null ? null : readCheckpoint(options.resume, program.name, hash, options);
  const tally = new Tally();
  if (earlier !== null) tally.add(earlier.tally);
  const stop = new StopCheck(options);
  const exhaustive = options.policy === 'exhaustive';
  const frontier = exhaustive ? new Frontier(options.reduction) : null;
  if (earlier?.frontier) frontier?.load(earlier.frontier);
  const save = (next: number): void => {
    if (options.checkpoint === null) return;
    const seconds = stop.elapsed_s + (earlier?.seconds ?? 0);
    const search = searchKey(options);
    writeCheckpoint(options.checkpoint, {
      program: program.name,
      hash,
      search,
      tally: tally.data(),
      seconds,
      frontier: frontier?.save() ?? null,
      next,
    });
  };
  const context: SearchContext = { program, options, tally, stop, progress: new ProgressMeter(options, program), save };
  const { reason, next } = await search(context, from, frontier, earlier);
  const ended = frontier === null ? reason === 'end' : !frontier.available;
  if (!ended) save(next);
  const seconds = stop.elapsed_s + (earlier?.seconds ?? 0);
  const whole = exhaustive && ended && tally.cutByDepth === 0 && !tally.approximate;
  const findings = [...tally.failures.values()].map((f) => present(program, f, hash, options));
  return {
    program: program.name,
    hash,
    complete: whole && tally.cutByPreemptions === 0,
    completeWithinBound: whole && (tally.cutByPreemptions === 0 || options.reduction === 'none'),
    stopped: reason,
    executions: tally.executions,
    deadlocks: tally.deadlocks,
    blocked: tally.blocked,
    cut: { preemptions: tally.cutByPreemptions, depth: tally.cutByDepth },
    approximate: tally.approximate,
    states: tally.states.size,
    steps: tally.steps,
    stepsMax: tally.stepsMax,
    repeated: tally.repeated,
    seconds,
    marks: Object.fromEntries(tally.marks),
    missingMarks: (program.marks ?? []).filter((m) => !tally.marks.has(m)),
    findings,
  };
}

async function search(
  context: SearchContext,
  from: Program | ProgramSource,
  frontier: Frontier | null,
  earlier: Checkpoint | null,
): Promise<{ reason: StopReason; next: number }> {
  const pool = context.options.jobs > 1;
  if (frontier === null) {
    const first = earlier?.next ?? 0;
    return pool ? sampleInPool(context, from as ProgramSource, first) : sampleHere(context, first);
  }
  const reason = await (pool ? searchInPool(context, from as ProgramSource, frontier) : searchHere(context, frontier));
  return { reason, next: 0 };
}

/** Shrinks a failure and gives it its token. */
function present(program: Program, failure: Failure, hash: number, options: ExploreOptions): ExploreFinding {
  const { finding, seed } = failure;
  // A program belongs to the execution that set it up last, and that was the search's.
  const execution = new Execution(program, options.memory);
  const less = options.shrink ? shrink(execution, failure.schedule, finding.rule, seed) : null;
  const schedule = less?.schedule ?? failure.schedule;
  return {
    ...(less?.finding ?? finding),
    token: formatToken({ hash, model: options.memory, seed, schedule }),
    schedule,
    switches: switchesOf(schedule),
    stepsFound: failure.schedule.length,
    switchesFound: switchesOf(failure.schedule),
    execution: failure.execution,
  };
}
