/**
 * The threads of a run: one worker each, in one pool, and what is known of each from outside.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { EngineThread } from '../plan.ts';
import {
  GATE_WORDS,
  GateWord,
  type ThreadFailure,
  type VcpuHoldings,
  type WorkerMessage,
  type WorkerReport,
  type WorkerTask,
} from './protocol.ts';

/** Where a thread is: `lost` is the end of one that gave no result, `terminated` of one that had to be ended. */
export type ThreadState = 'starting' | 'ready' | 'running' | 'done' | 'failed' | 'lost' | 'terminated';

export interface Member {
  readonly id: number;
  readonly thread: EngineThread;
  state: ThreadState;
  elapsedNs: number | null;
  /** What its vCPU held at its end. */
  vcpu: VcpuHoldings | null;
}

export interface CrewEvents {
  phase(member: Member, name: string, ns: number): void;
  report(member: Member, report: unknown): void;
  tally(member: Member, name: string, n: number): void;
  failure(member: Member, failure: ThreadFailure): void;
  /** The worker ended without a result. */
  lost(member: Member, message: string): void;
  /** A thread changed its state. */
  changed(member: Member): void;
}

export interface CrewOptions {
  readonly filename: string;
  readonly threads: readonly EngineThread[];
  /** The task of a thread, but for what the crew adds. */
  readonly task: (threadId: number) => Omit<WorkerTask, 'port' | 'gate' | 'threadId'>;
  readonly events: CrewEvents;
}

const ENDED: ReadonlySet<ThreadState> = new Set(['done', 'failed', 'lost', 'terminated']);
export const hasEnded = (member: Member): boolean => ENDED.has(member.state);

export class Crew {
  readonly members: readonly Member[];
  readonly #options: CrewOptions;
  readonly #pool: Piscina;
  readonly #gate = new Int32Array(new SharedArrayBuffer(4 * GATE_WORDS));
  /** Settled when a thread's result is in and its port is closed. */
  readonly #calls: Promise<void>[] = [];
  /** Where each member speaks, by its number. */
  readonly #ports: MessagePort[] = [];
  #disbanded = false;

  /** Starts all workers; they wait at the gate. */
  constructor(options: CrewOptions) {
    const { filename, threads } = options;
    this.#options = options;
    this.members = threads.map((thread, id) => ({ id, thread, state: 'starting', elapsedNs: null, vcpu: null }));
    this.#pool = new Piscina({
      filename,
      // Threads wait for each other: a pool with fewer workers than tasks would never get past the gate.
      minThreads: threads.length,
      maxThreads: threads.length,
      concurrentTasksPerWorker: 1,
      atomics: 'disabled',
      execArgv: ['--enable-source-maps'],
      recordTiming: false,
    });
    // A worker that breaks outside of its task: its task, if it has one, is told as well.
    this.#pool.on('error', () => {});
    for (const member of this.members) this.#calls.push(this.#start(member));
  }

  /** Lets all begin. */
  openGate(): void {
    for (const member of this.members) if (member.state === 'ready') this.#change(member, 'running');
    Atomics.store(this.#gate, GateWord.open, 1);
    Atomics.notify(this.#gate, GateWord.open);
  }

  /** Ends every worker, whatever it does. */
  async disband(): Promise<void> {
    this.#disbanded = true;
    for (const member of this.members) if (!hasEnded(member)) this.#change(member, 'terminated');
    await this.#pool.destroy();
    await Promise.all(this.#calls);
  }

  async #start(member: Member): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    this.#ports[member.id] = port1;
    port1.on('message', (message: WorkerMessage) => this.#heard(member, message));
    // From the beginning: the port of a worker that ends closes by itself, and would not tell a second time.
    const closed = new Promise<void>((resolve) => port1.once('close', resolve));
    const task: WorkerTask = {
      ...this.#options.task(member.id),
      threadId: member.id,
      gate: this.#gate.buffer,
      port: port2,
    };
    try {
      const report: WorkerReport = await this.#pool.run(task, { transferList: [port2] });
      this.#drain(member, port1);
      member.elapsedNs = report.elapsedNs;
      member.vcpu = report.vcpu;
      if (report.failure === null) this.#change(member, 'done');
      else this.#failed(member, report.failure);
    } catch (error) {
      this.#drain(member, port1);
      if (!this.#disbanded && !hasEnded(member)) {
        this.#change(member, 'lost');
        this.#options.events.lost(member, (error as Error).message);
      }
    } finally {
      port1.close();
      await closed;
    }
  }

  /** Hears what members have said and nobody has listened to yet. */
  listen(): void {
    for (const member of this.members) this.#drain(member, this.#ports[member.id]);
  }

  /** The result comes by another port: what was said before it may still be on its way. */
  #drain(member: Member, port: MessagePort): void {
    for (let last = receiveMessageOnPort(port); last; last = receiveMessageOnPort(port)) this.#heard(member, last.message);
  }

  #heard(member: Member, message: WorkerMessage): void {
    if (message.kind === 'ready') this.#change(member, 'ready');
    else if (message.kind === 'phase') this.#options.events.phase(member, message.name, message.ns);
    else if (message.kind === 'report') this.#options.events.report(member, message.report);
    else if (message.kind === 'tally') this.#options.events.tally(member, message.name, message.n);
    else this.#failed(member, message.failure);
  }

  /** Both the message and the result tell of a failure; whichever comes first is heard. */
  #failed(member: Member, failure: ThreadFailure): void {
    if (hasEnded(member)) return;
    this.#change(member, 'failed');
    this.#options.events.failure(member, failure);
  }

  #change(member: Member, state: ThreadState): void {
    if (hasEnded(member)) return;
    member.state = state;
    this.#options.events.changed(member);
  }
}
