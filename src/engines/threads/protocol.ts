/**
 * What coordinator and workers tell each other, beside the arena and the statistics region.
 */
import type { MessagePort } from 'node:worker_threads';
import type { BugSwitches } from '../../mmu/bug-switches.ts';
import type { EnginePlan } from '../plan.ts';

/** Words of the gate, shared memory of its own: the start of a run, and the order of reports, are no business of the model. */
export const GateWord = {
  /** 0 while threads wait for each other, 1 once all may begin. */
  open: 0,
  /** The next number of the sequence that all threads share. */
  number: 16,
} as const;
export const GATE_WORDS = 32;

/** What a worker is given: one task of the pool. */
export interface WorkerTask {
  readonly plan: EnginePlan;
  /** Place of the thread in the plan. */
  readonly threadId: number;
  /** The arena: as WebAssembly memory where it is, else its buffer. */
  readonly wasm: WebAssembly.Memory | null;
  readonly arena: SharedArrayBuffer;
  readonly controlWords: number;
  readonly statistics: SharedArrayBuffer;
  readonly measured: boolean;
  readonly gate: SharedArrayBuffer;
  /** How likely a delay is before each shared access; has an effect in the perturbed flavour only. */
  readonly perturb: number;
  readonly bugs: BugSwitches;
  readonly port: MessagePort;
}

/** Sent while the thread runs: unlike a result, it is not lost when the thread dies. */
export type WorkerMessage =
  | { readonly kind: 'ready' }
  /** A phase of the workload took `ns`. */
  | { readonly kind: 'phase'; readonly name: string; readonly ns: number }
  /** What a program reports: the engine hands it on. */
  | { readonly kind: 'report'; readonly report: unknown }
  /** The workload counted `n`. */
  | { readonly kind: 'tally'; readonly name: string; readonly n: number }
  | { readonly kind: 'failure'; readonly failure: ThreadFailure };

/** What a worker's task returns. */
export interface WorkerReport {
  readonly threadId: number;
  /** From the opening of the gate to the end of the program. */
  readonly elapsedNs: number;
  readonly failure: ThreadFailure | null;
  /** What its vCPU holds; null for other threads, and where the program did not come to its end. */
  readonly vcpu: VcpuHoldings | null;
}

/** What a vCPU's thread keeps in JavaScript, and oracles cannot see in the arena. */
export interface VcpuHoldings {
  readonly id: number;
  /** Roots that it has references to. */
  readonly roots: readonly number[];
  /** Page-table pages at hand. */
  readonly cachedPages: readonly number[];
}

/** An error as data: a worker pool drops its class and fields. */
export interface ThreadFailure {
  /** `vcpu 3` */
  readonly thread: string;
  /** The rule of an `InvariantError`, `exception` for any other error, or `exit` where the worker ended without a result. */
  readonly rule: string;
  readonly message: string;
  readonly stack: string;
  /** The last SPTE changes of the thread, oldest first. */
  readonly lastEvents: readonly string[];
  /** Locks that it held, by name. */
  readonly held: readonly string[];
}
