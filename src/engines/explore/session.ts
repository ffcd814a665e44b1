/**
 * What a worker does: it takes one piece of work after another from its port, and shares out what it has when others are idle.
 *
 * The worker never returns to its event loop between pieces: it sleeps on a word of the control block and takes messages from the
 * port itself, so that handing work over costs microseconds.
 */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { GivenLevel, WorkItem } from './dpor/tree-search.ts';
import { toFinding } from './judge.ts';
import type { SearchOptions } from './options.ts';
import type { Finding } from './program.ts';
import { loadProgram, type ProgramSource } from './program-source.ts';
import { ExhaustiveRunner, SamplingRunner } from './runner.ts';
import { Tally, type TallyData } from './tally.ts';

/** Words of the control block that coordinator and workers share. One word for each worker follows: written to wake it. */
export const Control = {
  /** 1: give back what you have and stop. */
  stop: 0,
  /** Workers that have nothing to do and will get nothing unless somebody gives. */
  hungry: 1,
  /** Executions of numbers above this one are of no interest any more (sampling). */
  lastExecution: 2,
  wake: 3,
} as const;

/** What the coordinator asks for. */
export type Order =
  | { readonly kind: 'item'; readonly item: WorkItem }
  | { readonly kind: 'sample'; readonly first: number; readonly count: number }
  | { readonly kind: 'stop' };

/** What a worker tells. */
export type Message =
  | { readonly kind: 'reversal'; readonly depth: number; readonly tasks: Int32Array; readonly accesses: Int32Array }
  | { readonly kind: 'give'; readonly levels: GivenLevel[] }
  | { readonly kind: 'tally'; readonly tally: TallyData }
  | { readonly kind: 'done'; readonly tally: TallyData }
  | { readonly kind: 'error'; readonly finding: Finding };

export interface SessionTask {
  readonly source: ProgramSource;
  readonly options: SearchOptions;
  readonly port: MessagePort;
  readonly control: Int32Array<SharedArrayBuffer>;
  /** Which of the workers this is. */
  readonly index: number;
  /** URL of the module that holds the explorer: the same one that the program's module imports. */
  readonly engine: string;
}

/** Executions between two looks at the control block. */
const LOOK_EVERY = 8;
/** Milliseconds between two reports of what was done. */
const REPORT_EVERY_MS = 200;

/** Serves until it is told to stop. The entry of the workers calls it. */
export async function serveSession(task: SessionTask): Promise<void> {
  const { port, control, index } = task;
  try {
    const program = await loadProgram(task.source);
    const worker = task.options.policy === 'exhaustive' ? new SearchWorker(program, task) : new SampleWorker(program, task);
    const wake = Control.wake + index;
    for (;;) {
      const seen = Atomics.load(control, wake);
      const order = receiveMessageOnPort(port)?.message as Order | undefined;
      if (order === undefined) Atomics.wait(control, wake, seen);
      else if (order.kind === 'stop') break;
      else worker.serve(order as never);
    }
  } catch (error) {
    port.postMessage({ kind: 'error', finding: toFinding(error) } satisfies Message);
  }
}

type LoadedProgram = Awaited<ReturnType<typeof loadProgram>>;

class SearchWorker {
  readonly #runner: ExhaustiveRunner;
  readonly #task: SessionTask;

  constructor(program: LoadedProgram, task: SessionTask) {
    this.#task = task;
    this.#runner = new ExhaustiveRunner(program, task.options);
    this.#runner.search.onReversal = (depth, sequence) => {
      const tasks = sequence.task.slice(0, sequence.length);
      const accesses = sequence.access.slice(0, sequence.length);
      this.#tell({ kind: 'reversal', depth, tasks, accesses });
    };
  }

  serve(order: { item: WorkItem }): void {
    const { control, options } = this.#task;
    const runner = this.#runner;
    const { search } = runner;
    runner.tally = new Tally();
    search.load(order.item);
    let reported_ms = performance.now();
    for (let runs = 1; ; runs++) {
      runner.run();
      if (runs % LOOK_EVERY === 0) {
        if (Atomics.load(control, Control.stop) !== 0) {
          this.#tell({ kind: 'give', levels: search.giveAll() });
          break;
        }
        if (Atomics.load(control, Control.hungry) > 0) this.#share();
        if (performance.now() - reported_ms > REPORT_EVERY_MS) {
          reported_ms = performance.now();
          this.#tell({ kind: 'tally', tally: runner.tally.data() });
          runner.tally = new Tally();
        }
      }
      if (runner.tally.failures.size >= options.findings) {
        this.#tell({ kind: 'give', levels: search.giveAll() });
        break;
      }
      if (!search.advance()) break;
    }
    this.#tell({ kind: 'done', tally: runner.tally.data() });
  }

  #share(): void {
    const levels = this.#runner.search.give();
    if (levels === null) return;
    Atomics.sub(this.#task.control, Control.hungry, 1);
    this.#tell({ kind: 'give', levels });
  }

  #tell(message: Message): void {
    this.#task.port.postMessage(message);
  }
}

class SampleWorker {
  readonly #runner: SamplingRunner;
  readonly #task: SessionTask;

  constructor(program: LoadedProgram, task: SessionTask) {
    this.#task = task;
    this.#runner = new SamplingRunner(program, task.options);
  }

  serve(order: { first: number; count: number }): void {
    const { control, port } = this.#task;
    const runner = this.#runner;
    runner.tally = new Tally();
    runner.load(order.first, order.count);
    while (runner.run()) {
      if (Atomics.load(control, Control.stop) !== 0) break;
      if (runner.number > Atomics.load(control, Control.lastExecution)) break;
    }
    port.postMessage({ kind: 'done', tally: runner.tally.data() } satisfies Message);
  }
}
