/**
 * What takes the place of `run.ts` where coroutines are plain functions that can be suspended: a call has run to its end.
 */
import type { Memory } from './memory.ts';
import type { Task } from './point.ts';
import { runToEnd as runGenerator } from './run.ts';

/** What `task`, which has run already, returned. A generator, as modules outside of the single source have them, is run now. */
export function runToEnd<T>(memory: Memory, task: Task<T>): T {
  const isGenerator = typeof (task as { next?: unknown } | null | undefined)?.next === 'function';
  return isGenerator ? runGenerator(memory, task) : (task as unknown as T);
}
