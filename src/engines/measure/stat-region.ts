/**
 * The statistics region: where each thread records what it measures, and where others read it at any time.
 *
 * It is shared memory of its own, beside the arena: what is measured must not move what it measures to other cache lines,
 * and it outlives a worker that dies. Every word has one writer, the thread whose block it is in, so plain stores do; a
 * reader may see counts of an event before its sum. The layout follows from the table below.
 */
import { COUNTER_SLOTS } from '../../machine/counters.ts';
import { HISTOGRAM_BUCKETS } from './histogram.ts';
import { MMU_EVENTS } from './mmu-events.ts';
import { OPERATIONS } from './operations.ts';
import { FAULT_OUTCOMES } from './outcomes.ts';

/** A distribution: records, weighted count, sum, maximum and minimum as doubles, then the histogram of 32-bit counts. */
export const DistributionField = { records: 0, count: 1, total: 2, max: 3, min: 4, histogram: 5 } as const;
export const DISTRIBUTION_DOUBLES = DistributionField.histogram + HISTOGRAM_BUCKETS / 2;

/** What is recorded for each combination of lock, mode and caller that a thread uses. */
export const LockField = {
  /** The combination's key plus 1: see `lock-recorder.ts`. 0: the slot is free. */
  key: 0,
  acquisitions: 1,
  contended: 2,
  wait: 8,
  hold: 8 + DISTRIBUTION_DOUBLES,
} as const;
export const LOCK_SLOT_DOUBLES = 8 + 2 * DISTRIBUTION_DOUBLES;
/** Combinations that one thread can keep apart; what comes later shares the last slot. */
export const LOCK_SLOTS = 40;

/** What each kind of operation took: times begun, walk steps, restarts of the walk. */
export const OperationField = { begun: 0, steps: 1, restarts: 2 } as const;
export const OPERATION_DOUBLES = 4;

/** Words about the thread as it is now, for watchers. */
export const LiveField = {
  /** Key of the lock that it queues for, plus 1; 0: none. */
  waitsFor: 0,
  /** Index of the operation under way: see `operations.ts`. */
  operation: 1,
  /** Walk steps and restarts when that operation began. */
  stepsBefore: 2,
  restartsBefore: 3,
  /** mmu_lock dropped and retaken in the middle of a walk, held for read and for write. */
  yieldsRead: 4,
  yieldsWrite: 5,
  /** SPTE changes recorded so far. */
  changes: 6,
} as const;

/** SPTE changes that a thread remembers: a power of two. */
export const CHANGES_KEPT = 64;
/** 32-bit words of a change: see `spte-changes.ts`. */
export const CHANGE_WORDS = 8;

/** The fields of a thread's block and their doubles; those after `counters` exist only where the run is measured. */
const FIELDS = [
  ['counters', COUNTER_SLOTS],
  ['live', 8],
  ['operations', OPERATION_DOUBLES * OPERATIONS.length],
  ['mmuEvents', MMU_EVENTS.length],
  ['changes', (CHANGES_KEPT * CHANGE_WORDS) / 2],
  ['faults', DISTRIBUTION_DOUBLES * FAULT_OUTCOMES.length],
  ['flush', DISTRIBUTION_DOUBLES],
  ['gracePeriod', DISTRIBUTION_DOUBLES],
  ['frozen', DISTRIBUTION_DOUBLES],
  ['locks', LOCK_SLOTS * LOCK_SLOT_DOUBLES],
] as const;

export type StatField = (typeof FIELDS)[number][0];

/** First double of each field, counted from the start of a block. */
export const FIELD_OFFSETS = {} as Record<StatField, number>;
/** A page: no two threads write to one page, let alone to one cache line. */
const ALIGN_DOUBLES = 512;
let measuredDoubles = 0;
for (const [name, doubles] of FIELDS) {
  FIELD_OFFSETS[name] = measuredDoubles;
  measuredDoubles += Math.ceil(doubles / 8) * 8;
}

const alignUp = (doubles: number): number => Math.ceil(doubles / ALIGN_DOUBLES) * ALIGN_DOUBLES;

export class StatRegion {
  readonly buffer: SharedArrayBuffer;
  readonly threads: number;
  /** Whether more than counters is recorded. */
  readonly measured: boolean;
  readonly doubles: Float64Array<SharedArrayBuffer>;
  /** The same memory as 32-bit words: histograms. */
  readonly words: Uint32Array<SharedArrayBuffer>;
  readonly #blockDoubles: number;

  /** `buffer`: the region that another thread made, to share it. */
  constructor(threads: number, measured: boolean, buffer?: SharedArrayBuffer) {
    this.threads = threads;
    this.measured = measured;
    this.#blockDoubles = alignUp(measured ? measuredDoubles : COUNTER_SLOTS);
    this.buffer = buffer ?? new SharedArrayBuffer(8 * threads * this.#blockDoubles);
    this.doubles = new Float64Array(this.buffer);
    this.words = new Uint32Array(this.buffer);
  }

  /** First double of a field of thread number `thread`. */
  offset(thread: number, field: StatField): number {
    return thread * this.#blockDoubles + FIELD_OFFSETS[field];
  }

  /** The counters of a thread, to be handed to it as they are. */
  counters(thread: number): Float64Array<SharedArrayBuffer> {
    return new Float64Array(this.buffer, 8 * this.offset(thread, 'counters'), COUNTER_SLOTS);
  }
}
