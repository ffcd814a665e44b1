/**
 * Runs a benchmark's threads and prints what they report.
 */
import type { EngineHooks, EnginePlan } from '../../src/engines/plan.ts';
import type { ThreadsResult } from '../../src/engines/threads/result.ts';
import { runThreads } from '../../src/engines/threads/run-threads.ts';
import { workerFile } from '../../src/engines/threads/worker-file.ts';

export interface BenchRun {
  /** A program for each thread: see `programs/index.ts`. */
  readonly programs: readonly string[];
  readonly options: EnginePlan['options'];
  readonly vm?: EnginePlan['vm'];
  readonly measure?: boolean;
  readonly setUp?: EngineHooks['setUp'];
}

/** Runs all threads to their end. Errors: they did not get there. */
export async function benchRun(run: BenchRun): Promise<ThreadsResult> {
  const { programs, options, vm = {}, measure = false, setUp } = run;
  const threads = programs.map((program, index) => ({ role: 'vcpu', name: `vcpu ${index}`, program, index, daemon: false }));
  const plan: EnginePlan = { workload: 'bench', options, seed: 1, vm, params: {}, threads };
  const result = await runThreads(plan, { controlWords: 0, setUp }, { filename: workerFile('bench', false), measure });
  if (!result.complete) throw new Error(`${result.reason}\n${result.failures[0]?.stack ?? ''}`);
  return result;
}

/** `12.3 M faults/s` */
export function perSecond(count: number, ns: number, unit: string): string {
  return `${((count / ns) * 1e3).toFixed(2).padStart(7)} M ${unit}/s`;
}

/** One row: a name, and what was measured. */
export function print(name: string, ...values: readonly string[]): void {
  console.log(`  ${name.padEnd(34)} ${values.join('   ')}`);
}
