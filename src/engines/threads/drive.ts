/**
 * Runs a task of the single source in the coordinator, while threads run beside it: a step is taken as soon as it is
 * announced, and a wake wakes real sleepers.
 */

import { addressOfStep, type Granted, kindOfStep, operands, StepKind, type Task } from '../../machine/point.ts';
import type { SharedMemory } from '../../machine/shared-memory.ts';

/** Longest sleep of one wait: a task that waits looks again. */
const WAIT_MS = 20;

export function drive<T>(memory: SharedMemory, task: Task<T>): T {
  const { words } = memory;
  let turn = task.next();
  while (!turn.done) {
    const a = addressOfStep(turn.value) as Granted;
    const kind = kindOfStep(turn.value);
    if (kind === StepKind.Wake) Atomics.notify(words, a, operands.count);
    else if (kind === StepKind.Wait) Atomics.wait(words, a, operands.expected, WAIT_MS);
    else if (kind === StepKind.Relax) Atomics.wait(words, a, words[a], 1);
    turn = task.next(a);
  }
  return turn.value;
}
