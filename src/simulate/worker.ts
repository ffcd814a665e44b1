/**
 * A thread that simulates: the body of `workers/simulate.ts`. Mistakes of the user and progress go back as data, because pools
 * lose classes of errors.
 */
import type { MessagePort } from 'node:worker_threads';
import { VcpuCounter } from '../vm/vcpu-counters.ts';
import { UsageError } from '../workloads/usage-error.ts';
import { type SimulationOutcome, type SimulationTask, simulate } from './simulation.ts';

export interface SimulationCall {
  readonly task: SimulationTask;
  /** Where progress goes. */
  readonly port?: MessagePort;
  /** Word 0 not 0: the run is interrupted. */
  readonly stop?: Int32Array;
}

/** Sent while a simulation runs. */
export interface SimulationProgress {
  readonly elapsedMs: number;
  readonly timeNs: number;
  readonly steps: number;
  readonly accesses: number;
}

export type SimulationAnswer =
  | { readonly outcome: SimulationOutcome }
  | { readonly usage: string }
  | { readonly error: string; readonly stack: string };

export async function serveSimulation({ task, port, stop }: SimulationCall): Promise<SimulationAnswer> {
  const interruption = new AbortController();
  const timer = setInterval(() => {
    if (stop !== undefined && Atomics.load(stop, 0) !== 0) interruption.abort();
  }, 100);
  try {
    const outcome = await simulate(
      task,
      (progress) => {
        const { elapsedMs, timeNs, steps } = progress;
        port?.postMessage({ elapsedMs, timeNs, steps, accesses: progress.counter(VcpuCounter.guest_accesses) });
      },
      interruption.signal,
    );
    return { outcome };
  } catch (error) {
    if (error instanceof UsageError || error instanceof RangeError) return { usage: error.message };
    const { message, stack = '' } = error as Error;
    return { error: message, stack };
  } finally {
    clearInterval(timer);
    port?.close();
  }
}
