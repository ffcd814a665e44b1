/** Runs one schedule again, and tells what each of its steps did. */
import { Access, STEP_NAMES } from './access.ts';
import { Execution } from './execution.ts';
import { type Finding, type Program, programHash } from './program.ts';
import { Sampler } from './sampler.ts';
import { Replay } from './schedulers/replay.ts';
import { parseToken, requireHash } from './token.ts';

/** One step of a replayed execution. */
export interface ReplayStep {
  readonly task: number;
  /** Name of the thread, or of its store buffer. */
  readonly name: string;
  /** What was announced: `read`, `write`, `rmw`, `count`, `wait`, `acquire`. */
  readonly kind: string;
  /** Index of the 32-bit word. */
  readonly address: number;
  /** Whether the step changed the word: a compare-and-exchange that failed did not. */
  readonly wrote: boolean;
}

export interface ReplayResult {
  readonly finding: Finding | null;
  readonly steps: readonly ReplayStep[];
  /** Entries of the schedule that could not be followed: 0 for a token of this program. */
  readonly skipped: number;
  /** The final contents of the arena. */
  readonly words: Int32Array;
}

/**
 * Replays a token.
 * @throws {TokenError} where the text is no token, or one of another program
 */
export function replay(program: Program, text: string): ReplayResult {
  const token = parseToken(text);
  const execution = new Execution(program, token.model);
  requireHash(token, programHash(program, execution.memory.initial, token.model), program.name);
  const scheduler = new Replay(token.schedule, token.seed);
  const sampler = new Sampler(execution, scheduler);
  sampler.run();
  const steps: ReplayStep[] = [];
  for (let i = 0; i < execution.length; i++) {
    const task = execution.task[i];
    const step = execution.step[i];
    const wrote = (execution.access[i] & 3) !== Access.read;
    steps.push({ task, name: execution.taskName(task), kind: STEP_NAMES[step & 15], address: step >>> 4, wrote });
  }
  return { finding: sampler.finding, steps, skipped: scheduler.skipped, words: Int32Array.from(execution.memory.words) };
}
