/**
 * Simulations in worker threads, one a worker: the build for which points ask before they suspend is several times faster.
 */
import { availableParallelism } from 'node:os';
import { MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { workerFile } from '../engines/threads/worker-file.ts';
import { UsageError } from '../workloads/usage-error.ts';
import type { SimulationOutcome, SimulationTask } from './simulation.ts';
import type { SimulationAnswer, SimulationCall, SimulationProgress } from './worker.ts';

export interface PoolOptions {
  /** Simulations at a time; the machine's processors unless told. */
  readonly workers?: number;
  readonly signal?: AbortSignal;
}

export class SimulationPool {
  readonly #pool: Piscina;
  readonly #stop = new Int32Array(new SharedArrayBuffer(4));

  constructor({ workers = availableParallelism(), signal }: PoolOptions = {}) {
    this.#pool = new Piscina({
      filename: workerFile('simulate', false),
      minThreads: 1,
      maxThreads: workers,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      execArgv: ['--enable-source-maps'],
      recordTiming: false,
    });
    const stop = (): void => {
      Atomics.store(this.#stop, 0, 1);
    };
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
  }

  /** Runs one task. Errors: UsageError; whatever went wrong in the worker. */
  async run(task: SimulationTask, onProgress?: (progress: SimulationProgress) => void): Promise<SimulationOutcome> {
    const { port1, port2 } = new MessageChannel();
    port1.on('message', (progress: SimulationProgress) => onProgress?.(progress));
    port1.unref();
    const call: SimulationCall = { task, port: port2, stop: this.#stop };
    try {
      const answer: SimulationAnswer = await this.#pool.run(call, { transferList: [port2] });
      if ('outcome' in answer) return answer.outcome;
      if ('usage' in answer) throw new UsageError(answer.usage);
      throw new Error(`${answer.error}\n${answer.stack}`);
    } finally {
      port1.close();
    }
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}
