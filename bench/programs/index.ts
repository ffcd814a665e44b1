/**
 * What the threads of benchmarks do. It runs in bundles without coroutines, so a task is a plain call here; each program times
 * itself, after a warm-up, and reports its time as a phase.
 */
import type { EngineContext } from '../../src/engines/plan.ts';
import type { Task } from '../../src/machine/point.ts';
import { exchange } from './exchange.ts';
import { fault } from './fault.ts';
import { lock } from './lock.ts';

const PROGRAMS: Readonly<Record<string, (context: EngineContext) => void>> = { exchange, fault, lock };

export function runBenchProgram(context: EngineContext): Task<void> {
  PROGRAMS[context.thread.program](context);
  return undefined as unknown as Task<void>;
}
