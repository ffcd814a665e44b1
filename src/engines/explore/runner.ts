/** Runs executions of one kind of search and adds up what they come to: the same code in this thread and in workers. */
import { InvariantError } from '../../machine/invariant.ts';
import { type RunEnd, TreeSearch, type WorkItem } from './dpor/tree-search.ts';
import { Execution } from './execution.ts';
import type { SearchOptions } from './options.ts';
import type { Program } from './program.ts';
import { Sampler } from './sampler.ts';
import { DeterminismCheck } from './schedulers/determinism.ts';
import { PartialOrderSampling } from './schedulers/partial-order.ts';
import { Pct } from './schedulers/pct.ts';
import { RandomWalk } from './schedulers/random-walk.ts';
import { Replay } from './schedulers/replay.ts';
import { RoundRobin } from './schedulers/round-robin.ts';
import type { Scheduler } from './schedulers/scheduler.ts';
import { Tally } from './tally.ts';

/** The exhaustive search of one item after another. */
export class ExhaustiveRunner {
  readonly execution: Execution;
  readonly search: TreeSearch;
  tally = new Tally();
  readonly #options: SearchOptions;
  readonly #again: Sampler;
  readonly #replay = new Replay([]);
  #runs = 0;

  constructor(program: Program, options: SearchOptions) {
    this.#options = options;
    this.execution = new Execution(program, options.memory);
    this.search = new TreeSearch(this.execution, options.reduction, options);
    this.#again = new Sampler(this.execution, this.#replay, options.depth);
  }

  load(item: WorkItem): void {
    this.search.load(item);
  }

  /** Runs one execution. Follow with `search.advance()`. */
  run(): void {
    const { search, tally, execution } = this;
    const end = search.run();
    if (end !== 'blocked') {
      tally.steps += execution.length;
      if (execution.length > tally.stepsMax) tally.stepsMax = execution.length;
    }
    const { marks } = execution.context;
    if (marks.size > 0) {
      tally.mark(marks);
      marks.clear();
    }
    this.#count(end);
    if (search.order.approximate) tally.approximate = true;
    if (search.takePreemptionsForbidden()) tally.cutByPreemptions++;
    const { finding } = search;
    if (finding !== null && !tally.failures.has(finding.rule)) {
      const seed = execution.context.used ? execution.dataSeed : 0;
      tally.fail({ finding, schedule: execution.schedule(), seed, execution: tally.executions });
    }
    const { repeatEvery } = this.#options;
    if (finding !== null || (end === 'complete' && repeatEvery > 0 && this.#runs++ % repeatEvery === 0)) this.#repeat(end);
  }

  #count(end: RunEnd): void {
    const { tally } = this;
    switch (end) {
      case 'blocked':
        tally.blocked++;
        return;
      case 'preemptions':
        tally.cutByPreemptions++;
        return;
      case 'depth':
        tally.cutByDepth++;
        return;
      case 'deadlock':
        tally.deadlocks++;
        break;
      case 'complete':
        if (this.#options.states) tally.states.add(stateOf(this.execution));
        break;
      case 'failed':
        if (this.#options.states && this.execution.complete) tally.states.add(stateOf(this.execution));
    }
    tally.executions++;
  }

  /** Runs the last execution once more, which must do the same. */
  #repeat(end: RunEnd): void {
    const { execution, search } = this;
    const { length } = execution;
    const state = execution.memory.hash();
    this.#replay.follow(execution.schedule());
    this.#again.run();
    execution.context.marks.clear();
    this.tally.repeated++;
    if (execution.length !== length || execution.memory.hash() !== state || this.#again.finding?.rule !== search.finding?.rule) {
      throw new InvariantError(
        'nondeterminism',
        `the program is not deterministic: an execution of ${length} steps that ended ${end} (${search.finding?.rule ?? 'no finding'}) ` +
          `came to ${execution.length} steps (${this.#again.finding?.rule ?? 'no finding'}) when repeated`,
      );
    }
  }
}

/** A policy that draws executions one after another, by number. */
export class SamplingRunner {
  readonly execution: Execution;
  tally = new Tally();
  readonly #options: SearchOptions;
  readonly #pctSteps: number;
  #sampler: Sampler | null = null;
  #determinism: DeterminismCheck | null = null;
  /** Number of the next execution. */
  number = 0;

  constructor(program: Program, options: SearchOptions) {
    this.#options = options;
    this.execution = new Execution(program, options.memory);
    this.#pctSteps = options.policy === 'pct' ? this.#measure() : 0;
  }

  /** Goes on with executions `first` to `first + count - 1`. */
  load(first: number, count: number): void {
    this.number = first;
    const scheduler = this.#scheduler(first, count);
    const { repeatEvery } = this.#options;
    this.#determinism = repeatEvery > 0 ? new DeterminismCheck(scheduler, repeatEvery) : null;
    this.#sampler = new Sampler(this.execution, this.#determinism ?? scheduler, this.#options.depth);
  }

  /** Runs one execution; false where there is none left. */
  run(): boolean {
    const sampler = this.#sampler as Sampler;
    const { execution, tally } = this;
    const outcome = sampler.run();
    if (outcome === null) return false;
    const { marks } = execution.context;
    if (this.#determinism !== null && this.#determinism.repeated > 0) {
      this.#determinism.repeated = 0;
      tally.repeated++;
      marks.clear();
      return true;
    }
    const number = this.number++;
    tally.steps += execution.length;
    if (execution.length > tally.stepsMax) tally.stepsMax = execution.length;
    if (marks.size > 0) {
      tally.mark(marks);
      marks.clear();
    }
    if (outcome === 'cut') {
      tally.cutByDepth++;
      return true;
    }
    tally.executions++;
    if (execution.complete) {
      if (this.#options.states) tally.states.add(stateOf(execution));
    } else if (sampler.finding === null || sampler.finding.rule === 'deadlock') {
      tally.deadlocks++;
    }
    const { finding } = sampler;
    if (finding !== null && !tally.failures.has(finding.rule)) {
      const seed = execution.context.used ? execution.dataSeed : 0;
      tally.fail({ finding, schedule: execution.schedule(), seed, execution: number });
    }
    return true;
  }

  #scheduler(first: number, count: number): Scheduler {
    const { policy, seed, pctDepth } = this.#options;
    const tasks = this.execution.taskCount;
    switch (policy) {
      case 'pct':
        return new Pct({ seed, depth: pctDepth, steps: this.#pctSteps, tasks, executions: count, first });
      case 'partial-order':
        return new PartialOrderSampling(seed, tasks, count, first);
      case 'round-robin':
        return new RoundRobin(1, first === 0 ? 1 : 0);
      default:
        return new RandomWalk(seed, count, first);
    }
  }

  /** Steps of the longest of a few random executions. */
  #measure(): number {
    const sampler = new Sampler(this.execution, new RandomWalk(this.#options.seed, 8), this.#options.depth);
    let steps = 1;
    while (sampler.run() !== null) steps = Math.max(steps, this.execution.length);
    return steps;
  }
}

function stateOf(execution: Execution): number | string {
  const { program, memory } = execution;
  return program.state === undefined ? memory.hash() : program.state(memory.words);
}
