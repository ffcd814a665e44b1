/**
 * What a measured thread is given: counters in the statistics region, and the listeners that record there.
 *
 * The clock is the engine's, so the same recorders serve real threads and the virtual clock.
 */
import type { Probe } from '../../machine/probe.ts';
import type { MmuTrace } from '../../mmu/trace.ts';
import { MachineRecorder } from './machine-recorder.ts';
import { MmuRecorder } from './mmu-recorder.ts';
import { Sampler } from './sampler.ts';
import type { StatRegion } from './stat-region.ts';

export interface Sampling {
  /** Of holds of free locks one in so many is timed: a power of two. */
  readonly locks: number;
  /** Of page faults one in so many. */
  readonly faults: number;
}

/** Real threads, for which a look at the clock costs 35 ns and more. */
export const SAMPLED: Sampling = { locks: 64, faults: 32 };
/** Clocks that cost nothing. */
export const EVERYTHING: Sampling = { locks: 1, faults: 1 };

export interface RecorderOptions {
  readonly region: StatRegion;
  /** Number of the thread's block in the region. */
  readonly thread: number;
  readonly now: () => number;
  readonly seed: number;
  readonly sampling: Sampling;
}

export interface Recorder {
  readonly counters: Float64Array;
  /** Null where the region is for counters only. */
  readonly probe: Probe | null;
  readonly trace: MmuTrace | null;
}

export function createRecorder(options: RecorderOptions): Recorder {
  const { region, thread, now, seed, sampling } = options;
  const counters = region.counters(thread);
  if (!region.measured) return { counters, probe: null, trace: null };
  return {
    counters,
    probe: new MachineRecorder(region, thread, now, new Sampler(sampling.locks, seed)),
    trace: new MmuRecorder(region, thread, now, new Sampler(sampling.faults, seed + 1)),
  };
}
