/**
 * What a run on threads gives: whether it came to its end, why not, and what was measured either way.
 */
import type { Address } from '../../machine/point.ts';
import type { SharedMemory } from '../../machine/shared-memory.ts';
import type { Vm } from '../../vm/vm.ts';
import type { Measurement } from '../measure/measurement.ts';
import type { ThreadState } from './crew.ts';
import type { ThreadFailure, VcpuHoldings } from './protocol.ts';
import type { SpteHistory } from './spte-history.ts';
import type { StallReport } from './stall.ts';

/** Process exit codes by how a run ended. */
export const ExitCode = { held: 0, broken: 127, stalled: 128, interrupted: 130 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export interface ThreadOutcome {
  readonly name: string;
  readonly role: string;
  readonly index: number;
  readonly state: ThreadState;
  /** From the start of all threads to the end of its program; null where it did not get there. */
  readonly elapsedNs: number | null;
  /** Locks that it held at the end. */
  readonly holds: readonly string[];
}

export interface ThreadsResult {
  /** Whether every program came to its end by itself, or because the run's time was over. */
  readonly complete: boolean;
  /** One line: why the run is incomplete; empty where it is not. */
  readonly reason: string;
  readonly exitCode: ExitCode;
  readonly failures: readonly ThreadFailure[];
  readonly stall: StallReport | null;
  readonly threads: readonly ThreadOutcome[];
  /** From the first worker's creation until all could begin. */
  readonly startupNs: number;
  /** From then on to the end. */
  readonly elapsedNs: number;
  readonly measurement: Measurement;
  /** What vCPUs held at their end, of those whose programs came to it. */
  readonly vcpus: readonly VcpuHoldings[];
  /** The last changes of an SPTE, of all threads; empty where the run was not measured. */
  readonly history: SpteHistory;
  /** The coordinator's handle on the VM as the run left it: for oracles. Where a run is incomplete, anything may be half done. */
  readonly vm: Vm;
  readonly memory: SharedMemory;
  readonly control: Address;
}
