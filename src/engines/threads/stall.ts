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

/** Up to so many threads are called by their names. */
const NAMED_MAX = 2;

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
  const roles = new Map(context.members.map(({ thread }) => [thread.name, thread.role]));
  const group = (names: readonly string[]) => groupName(names, roles);
  const holders = byText(threads, ({ holds }) => holds.join(', '));
  const waiters = byText(threads, ({ waitsFor: lock }) => lock ?? '');
  const parts = [
    ...[...holders].map(([locks, names]) => `${group(names)} ${names.length > 1 ? 'hold' : 'holds'} ${locks}`),
    ...[...waiters].map(([lock, names]) => `${group(names)} ${names.length > 1 ? 'wait' : 'waits'} for ${lock}`),
  ];
  const running = threads.filter(({ state }) => state === 'running').map(({ thread }) => thread);
  const summary = parts.join('; ') || `no lock is held or waited for; still running: ${group(running) || 'nobody'}`;
  return { afterMs, threads, summary };
}

/** Names of threads by what is said of them; those of whom nothing is said are left out. */
function byText(threads: readonly StalledThread[], textOf: (thread: StalledThread) => string): ReadonlyMap<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const thread of threads) {
    const text = textOf(thread);
    if (text === '') continue;
    const names = groups.get(text);
    if (names) names.push(thread.thread);
    else groups.set(text, [thread.thread]);
  }
  return groups;
}

/** `vcpu 0, vcpu 1`, but `63 vCPUs`. */
function groupName(names: readonly string[], roles: ReadonlyMap<string, string>): string {
  if (names.length <= NAMED_MAX) return names.join(', ');
  return `${names.length} ${names.every((name) => roles.get(name) === 'vcpu') ? 'vCPUs' : 'threads'}`;
}

/** One line for each thread that holds or waits for something. */
export function stallDetails({ threads }: StallReport): string[] {
  return threads.flatMap(({ thread, holds, waitsFor: lock, inRcu, operation }) => {
    const said = [
      ...(holds.length > 0 ? [`holds ${holds.join(', ')}`] : []),
      ...(lock === null ? [] : [`waits for ${lock}`]),
      ...(inRcu ? ['is in an RCU read-side section'] : []),
    ];
    return said.length === 0 ? [] : [`${thread}${operation ? ` (${operation})` : ''} ${said.join(', ')}`];
  });
}
