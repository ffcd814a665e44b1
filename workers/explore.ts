// coroutines
/**
 * A thread of the explorer's pool. The explorer itself is loaded from where the program's module takes it, so that both share one
 * copy of the scheduling points.
 */
import type { SessionTask } from '../src/explore.ts';

type Engine = typeof import('../src/explore.ts');

export default async function run(task: SessionTask): Promise<void> {
  const engine: Engine = await import(task.engine);
  return engine.serveSession(task);
}
