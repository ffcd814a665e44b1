/**
 * The explorer as a tool of its own: coroutines over a few shared words, every interleaving of them, no MMU.
 *
 * ```ts
 * import { type Address, explore, type Memory, type Program, read, write } from 'tdpsim/explore';
 *
 * const counter = 0 as Address;
 * function* increment(memory: Memory) {
 *   const seen = memory.load32(yield read(counter));
 *   memory.store32(yield write(counter), seen + 1);
 * }
 * const program: Program = {
 *   name: 'lost update',
 *   words: 2,
 *   threads: [{ name: 'a', run: increment }, { name: 'b', run: increment }],
 *   check: (words) => (words[counter] === 2 ? null : `the counter is ${words[counter]}`),
 * };
 * const report = await explore(program);
 * console.log(report.findings[0].token);
 * ```
 */
export { Access, acquire } from './engines/explore/access.ts';
export { Execution } from './engines/explore/execution.ts';
export { type ExploreFinding, type ExploreReport, explore } from './engines/explore/explore.ts';
export {
  exploreLitmus,
  type LitmusOutcome,
  type LitmusResult,
  litmusProgram,
  runLitmus,
} from './engines/explore/litmus.ts';
export { LitmusError, type LitmusOp, type LitmusTest, parseLitmus, type Verdict } from './engines/explore/litmus-format.ts';
export {
  EXPLORE_DEFAULTS,
  ExploreOptionError,
  type ExploreOptions,
  POLICIES,
  type Policy,
  type Progress,
} from './engines/explore/options.ts';
export {
  type Finding,
  type MemoryModel,
  type Program,
  type ProgramContext,
  type ProgramThread,
  programHash,
  type StepEvent,
} from './engines/explore/program.ts';
export { loadProgram, type ProgramSource } from './engines/explore/program-source.ts';
export { type ReplayResult, type ReplayStep, replay } from './engines/explore/replay.ts';
export { Sampler } from './engines/explore/sampler.ts';
export { CoverageScheduler } from './engines/explore/schedulers/coverage.ts';
export { DeterminismCheck } from './engines/explore/schedulers/determinism.ts';
export { Exhaustive } from './engines/explore/schedulers/exhaustive.ts';
export { MetricsScheduler, type ScheduleMetrics } from './engines/explore/schedulers/metrics.ts';
export { PartialOrderSampling } from './engines/explore/schedulers/partial-order.ts';
export { Pct, type PctOptions } from './engines/explore/schedulers/pct.ts';
export { RandomWalk } from './engines/explore/schedulers/random-walk.ts';
export { Replay } from './engines/explore/schedulers/replay.ts';
export { RoundRobin } from './engines/explore/schedulers/round-robin.ts';
export { type Outcome, type Scheduler, Xorshift } from './engines/explore/schedulers/scheduler.ts';
export { type SessionTask, serveSession } from './engines/explore/session.ts';
export { type Shrunk, shrink, switchesOf } from './engines/explore/shrink.ts';
export { formatToken, parseToken, type ReplayToken, requireHash, TokenError } from './engines/explore/token.ts';
export { InvariantError, invariant } from './machine/invariant.ts';
export type { Memory } from './machine/memory.ts';
export {
  type Address,
  count,
  fence,
  fixed,
  type Granted,
  own,
  read,
  relax,
  rmw,
  type Step,
  spend,
  type Task,
  wait,
  wake,
  write,
} from './machine/point.ts';
export { Word64 } from './machine/word64.ts';
