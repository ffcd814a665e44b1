/** A search in this thread: in slices, so that timers, signals and progress get their turn. */
import { setImmediate as turn } from 'node:timers/promises';
import type { Frontier } from './dpor/frontier.ts';
import type { ExploreOptions } from './options.ts';
import type { Program } from './program.ts';
import type { ProgressMeter } from './progress.ts';
import { ExhaustiveRunner, SamplingRunner } from './runner.ts';
import { now_s, type StopCheck, type StopReason } from './stop.ts';
import type { Tally } from './tally.ts';

/** How long a slice may take, in seconds. */
const SLICE_S = 0.05;
/** Executions between two looks at the clock. */
const LOOK_EVERY = 16;
/** Seconds between two checkpoints of a search that goes on. */
const SAVE_EVERY_S = 60;

/** What a search works with. */
export interface SearchContext {
  readonly program: Program;
  readonly options: ExploreOptions;
  readonly tally: Tally;
  readonly stop: StopCheck;
  readonly progress: ProgressMeter;
  /** Writes a checkpoint, where one is wanted. */
  save(next: number): void;
}

export async function searchHere(context: SearchContext, frontier: Frontier): Promise<StopReason> {
  const { program, options, tally, stop, progress } = context;
  const runner = new ExhaustiveRunner(program, options);
  runner.tally = tally;
  let lease = frontier.take();
  runner.search.onReversal = (depth, sequence) => {
    if (lease === null) return;
    const { task, access, length } = sequence;
    frontier.reverse(lease, depth, task.subarray(0, length), access.subarray(0, length));
  };
  let slice_s = now_s();
  let saved_s = slice_s;
  let reason: StopReason | null = null;
  for (; lease !== null && reason === null; lease = reason === null ? frontier.take() : null) {
    runner.load(lease.item);
    for (let runs = 1; ; runs++) {
      runner.run();
      if (runs % LOOK_EVERY === 0 || tally.failures.size > 0) {
        reason = stop.reason(tally);
        if (reason === null && now_s() - slice_s > SLICE_S) {
          progress.tick(tally, () => frontier.share(runner.search.share()));
          await turn();
          slice_s = now_s();
        }
      } else if (tally.executions >= options.executions) {
        reason = 'executions';
      }
      const save = options.checkpoint !== null && slice_s - saved_s > SAVE_EVERY_S;
      if (reason !== null || save) {
        frontier.give(lease, runner.search.giveAll());
        break;
      }
      if (!runner.search.advance()) break;
    }
    frontier.finish();
    if (slice_s - saved_s > SAVE_EVERY_S) {
      context.save(0);
      saved_s = slice_s;
    }
  }
  if (reason !== null && !frontier.available) return reason === 'findings' ? reason : 'end';
  return reason ?? 'end';
}

export async function sampleHere(context: SearchContext, first: number): Promise<{ reason: StopReason; next: number }> {
  const { program, options, tally, stop, progress } = context;
  const runner = new SamplingRunner(program, options);
  runner.tally = tally;
  runner.load(first, Number.POSITIVE_INFINITY);
  let slice_s = now_s();
  for (let runs = 0; ; runs++) {
    const reason = runs % LOOK_EVERY === 0 || tally.failures.size > 0 ? stop.reason(tally) : null;
    if (reason !== null) return { reason, next: runner.number };
    if (tally.executions >= options.executions) return { reason: 'executions', next: runner.number };
    if (now_s() - slice_s > SLICE_S) {
      progress.tick(tally, () => null);
      await turn();
      slice_s = now_s();
    }
    if (!runner.run()) return { reason: 'end', next: runner.number };
  }
}
