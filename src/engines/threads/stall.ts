/**
 * Who held and who waited for what when nobody got on any more.
 */
import { ThreadWord } from '../../machine/thread.ts';
import type { KvmLayout } from '../../mmu/kvm.ts';
import { waitsFor } from '../measure/lock-measurements.ts';
import { OPERATIONS, type OperationName } from '../measure/operations.ts';
import { LiveField, type StatRegion } from '../measure/stat-region.ts';
import type { Member, ThreadState } from './crew.ts';
import { heldLocks } from './failure.ts';

export interface StalledThread {
  readonly thread: string;
  readonly state: ThreadState;
  /** `mmu_lock for read` */
  readonly holds: readonly string[];
  /** The lock that it queues for, and where; null where it queues for none, or the run is not measured. */
  readonly waitsFor: string | null;
  /** In an RCU read-side section. */
  readonly inRcu: boolean;
  /** The operation that it began last; null where the run is not measured. */
  readonly operation: OperationName | null;
}

export interface StallReport {
  /** How long nobody had got on. */
  readonly afterMs: number;
  readonly threads: readonly StalledThread[];
  /** One line: who holds what others wait for. */
  readonly summary: string;
}

export interface StallContext {
  readonly members: readonly Member[];
  readonly region: StatRegion;
  readonly words: Int32Array;
  readonly layout: KvmLayout;
}

export function stalledThreads(context: StallContext): StalledThread[] {
  const { members, region, words, layout } = context;
  return members.map(({ id, thread, state }): StalledThread => {
    const block = layout.threadBlock(id);
    const operation = region.measured ? region.doubles[region.offset(id, 'live') + LiveField.operation] : 0;
    return {
      thread: thread.name,
      state,
      holds: heldLocks(words[block + ThreadWord.held]),
      waitsFor: waitsFor(region, id) ?? null,
      inRcu: (words[block + ThreadWord.rcu] & 1) === 1,
      operation: region.measured ? OPERATIONS[operation] : null,
    };
  });
}

export function describeStall(context: StallContext, afterMs: number): StallReport {
  const threads = stalledThreads(context);
  const holders = threads
    .filter(({ holds }) => holds.length > 0)
    .map(({ thread, holds }) => `${thread} holds ${holds.join(', ')}`);
  const waiters = threads.flatMap(({ thread, waitsFor: lock }) => (lock ? [`${thread} waits for ${lock}`] : []));
  const running = threads.filter(({ state }) => state === 'running').map(({ thread }) => thread);
  const summary =
    [...holders, ...waiters].join('; ') || `no lock is held or waited for; still running: ${running.join(', ') || 'nobody'}`;
  return { afterMs, threads, summary };
}
