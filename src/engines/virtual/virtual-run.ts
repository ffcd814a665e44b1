/**
 * A run on the virtual clock as those see it who do not run it: what it was told, and what it leaves behind.
 */
import type { BugSwitches } from '../../mmu/bug-switches.ts';
import type { Vm } from '../../vm/vm.ts';
import type { Recorder } from '../measure/recorder.ts';
import type { StatRegion } from '../measure/stat-region.ts';
import type { EnginePlan, EngineThread, PlanLayout } from '../plan.ts';
import type { VirtualEngine } from './engine.ts';
import type { LockTimeline } from './lock-timeline.ts';
import type { MachineProfile } from './profile.ts';
import type { PinOrder } from './topology.ts';
import type { VirtualProbe } from './virtual-probe.ts';

export interface VirtualProgress {
  /** Real time since the beginning. */
  readonly elapsedMs: number;
  readonly timeNs: number;
  readonly steps: number;
  readonly running: number;
  readonly ended: number;
  /** The sum over all threads of a counter. */
  counter(index: number): number;
}

export interface VirtualOptions {
  readonly profile: MachineProfile;
  /** Which CPU the i-th thread gets. */
  readonly pinOrder: PinOrder;
  /** Virtual milliseconds after which programs are told to end; 0: they end by themselves. */
  readonly durationMs: number;
  /** Record locks, latencies and stretches; without, there are counters and the time by cause. */
  readonly measure: boolean;
  readonly signal: AbortSignal | null;
  readonly bugs: BugSwitches;
  /** Virtual milliseconds in which somebody must get on; 0: for ever. */
  readonly watchdogMs: number;
  /** Called every half second of real time. */
  readonly onProgress: ((progress: VirtualProgress) => void) | null;
}

/** What a thread records. */
export interface ThreadRecords {
  readonly thread: EngineThread;
  readonly recorder: Recorder;
  readonly probe: VirtualProbe | null;
  /** Operation under way when the longest stretch ended. */
  stallOperation: number;
}

/** A run that is over. */
export interface FinishedRun {
  readonly plan: EnginePlan;
  readonly options: VirtualOptions;
  readonly layout: PlanLayout;
  readonly engine: VirtualEngine;
  readonly region: StatRegion;
  readonly vm: Vm;
  readonly timeline: LockTimeline;
  readonly phases: readonly { readonly name: string; readonly ns: number }[];
  readonly tallies: readonly { readonly name: string; readonly n: number }[];
  readonly records: readonly ThreadRecords[];
  /** Index of the operation that a thread began last. */
  operationOf(id: number): number;
  /** The `held` word of a thread's block. */
  heldMaskOf(id: number): number;
}
