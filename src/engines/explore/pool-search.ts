/** A search shared out over worker threads: this thread keeps the frontier, hands out items and adds up what comes back. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { InvariantError } from '../../machine/invariant.ts';
import type { Frontier, Lease } from './dpor/frontier.ts';
import type { SearchContext } from './local-search.ts';
import { ExploreOptionError, type ExploreOptions, type SearchOptions } from './options.ts';
import type { ProgramSource } from './program-source.ts';
import { Control, type Message, type Order, type SessionTask } from './session.ts';
import type { StopReason } from './stop.ts';
import type { TallyData } from './tally.ts';

/** Milliseconds between two looks at limits and progress. */
const LOOK_EVERY_MS = 50;
/** Executions dealt out at a time by the policies that draw them by number. */
const SAMPLE_CHUNK = 2000;

/** The search of all traces. */
export async function searchInPool(context: SearchContext, source: ProgramSource, frontier: Frontier): Promise<StopReason> {
  const leases = new Map<number, Lease>();
  const { tally } = context;
  const pool = new Pool(context, source);
  return pool.run({
    next(worker) {
      const lease = frontier.take();
      if (lease === null) return null;
      leases.set(worker, lease);
      return { kind: 'item', item: lease.item };
    },
    receive(worker, message) {
      const lease = leases.get(worker) as Lease;
      if (message.kind === 'reversal') frontier.reverse(lease, message.depth, message.tasks, message.accesses);
      else if (message.kind === 'give') frontier.give(lease, message.levels);
    },
    finished(worker) {
      leases.delete(worker);
      frontier.finish();
    },
    counted(data) {
      tally.add(data);
    },
    share: () => frontier.share(0),
  });
}

/** A policy that draws executions by number: dealt out in chunks, in order. */
export async function sampleInPool(
  context: SearchContext,
  source: ProgramSource,
  first: number,
): Promise<{ reason: StopReason; next: number }> {
  const { options, tally } = context;
  const end = first + options.executions - tally.executions;
  let next = first;
  const pool = new Pool(context, source);
  const reason = await pool.run({
    next() {
      const count = Math.min(SAMPLE_CHUNK, end - next);
      if (count <= 0 || tally.failures.size >= options.findings) return null;
      next += count;
      return { kind: 'sample', first: next - count, count };
    },
    receive() {},
    finished() {},
    counted(data) {
      tally.add(data);
      if (tally.failures.size >= options.findings) {
        pool.endAt(Math.max(...[...tally.failures.values()].map((f) => f.execution)));
      }
    },
    share: () => null,
  });
  return { reason: tally.failures.size >= options.findings ? 'findings' : reason, next };
}

/** What a pool asks of the kind of search it runs. */
interface Dealer {
  next(worker: number): Order | null;
  receive(worker: number, message: Message): void;
  finished(worker: number): void;
  counted(data: TallyData): void;
  share(): number | null;
}

class Pool {
  readonly #context: SearchContext;
  readonly #source: ProgramSource;
  readonly #jobs: number;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #ports: MessagePort[] = [];
  readonly #idle = new Set<number>();
  #reason: StopReason | null = null;
  /** Whether the failures that are known end the search only when all before them are in (sampling). */
  #ending = false;

  constructor(context: SearchContext, source: ProgramSource) {
    this.#context = context;
    this.#source = source;
    this.#jobs = context.options.jobs;
    this.#control = new Int32Array(new SharedArrayBuffer(4 * (Control.wake + this.#jobs)));
    this.#control[Control.lastExecution] = 0x7fffffff;
  }

  /** Executions of higher numbers are of no interest any more. */
  endAt(execution: number): void {
    this.#ending = true;
    Atomics.store(this.#control, Control.lastExecution, Math.min(execution, 0x7fffffff));
  }

  async run(dealer: Dealer): Promise<StopReason> {
    const { options } = this.#context;
    const worker = options.worker ?? findWorker();
    const piscina = new Piscina({
      filename: worker.href,
      minThreads: this.#jobs,
      maxThreads: this.#jobs,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
    });
    try {
      return await new Promise<StopReason>((resolve, reject) => {
        const sessions = Array.from({ length: this.#jobs }, (_, index) =>
          this.#open(piscina, worker, index, dealer, resolve, reject),
        );
        Promise.all(sessions).catch(reject);
        const timer = setInterval(() => this.#look(dealer, resolve), LOOK_EVERY_MS);
        timer.unref();
        this.#stopTimer = () => clearInterval(timer);
        for (let i = 0; i < this.#jobs; i++) this.#idle.add(i);
        this.#deal(dealer, resolve);
      });
    } finally {
      this.#stopTimer();
      for (let i = 0; i < this.#jobs; i++) this.#order(i, { kind: 'stop' });
      for (const port of this.#ports) port.close();
      await piscina.destroy();
    }
  }

  #stopTimer: () => void = () => {};

  #open(
    piscina: Piscina,
    worker: URL,
    index: number,
    dealer: Dealer,
    resolve: (reason: StopReason) => void,
    reject: (error: Error) => void,
  ): Promise<unknown> {
    const { port1, port2 } = new MessageChannel();
    this.#ports.push(port1);
    port1.on('message', (message: Message) => {
      if (message.kind === 'error') {
        reject(new InvariantError(message.finding.rule, message.finding.message));
        return;
      }
      if (message.kind === 'tally' || message.kind === 'done') dealer.counted(message.tally);
      else dealer.receive(index, message);
      if (message.kind === 'done') {
        dealer.finished(index);
        this.#idle.add(index);
      }
      this.#look(dealer, resolve);
      this.#deal(dealer, resolve);
    });
    const task: SessionTask = {
      source: this.#source,
      options: plainOptions(this.#context.options),
      port: port2,
      control: this.#control,
      index,
      engine: new URL('../explore.js', worker).href,
    };
    return piscina.run(task, { transferList: [port2] as never });
  }

  #order(index: number, order: Order): void {
    this.#ports[index]?.postMessage(order);
    Atomics.add(this.#control, Control.wake + index, 1);
    Atomics.notify(this.#control, Control.wake + index);
  }

  /** Hands work to whoever has none; ends where nobody has any. */
  #deal(dealer: Dealer, resolve: (reason: StopReason) => void): void {
    if (this.#reason === null) {
      for (const index of this.#idle) {
        const order = dealer.next(index);
        if (order === null) break;
        this.#idle.delete(index);
        this.#order(index, order);
      }
    }
    Atomics.store(this.#control, Control.hungry, this.#reason === null ? this.#idle.size : 0);
    if (this.#idle.size === this.#jobs) resolve(this.#reason ?? 'end');
  }

  #look(dealer: Dealer, resolve: (reason: StopReason) => void): void {
    const { tally, stop, progress } = this.#context;
    progress.tick(tally, () => dealer.share());
    if (this.#reason !== null) return;
    const reason = stop.reason(tally);
    if (reason === null || (reason === 'findings' && this.#ending)) return;
    this.#reason = reason;
    Atomics.store(this.#control, Control.stop, 1);
    if (this.#idle.size === this.#jobs) resolve(reason);
  }
}

/** The options that cross to the workers: plain data. */
function plainOptions(options: ExploreOptions): SearchOptions {
  const { policy, reduction, memory, preemptions, depth, seed, pctDepth, states, repeatEvery, findings } = options;
  return { policy, reduction, memory, preemptions, depth, seed, pctDepth, states, repeatEvery, findings };
}

/** The workers' bundle, wherever this module was bundled to, or run from its source. */
function findWorker(): URL {
  for (let folder = new URL('.', import.meta.url); ; folder = new URL('..', folder)) {
    for (const place of ['workers/explore.js', 'dist/workers/explore.js']) {
      const file = new URL(place, folder);
      if (existsSync(fileURLToPath(file))) return file;
    }
    if (new URL('..', folder).href === folder.href) break;
  }
  throw new ExploreOptionError(
    `no bundle of the workers was found: build it first, or take jobs: 1 (of ${availableParallelism()})`,
  );
}
