/**
 * Rule: whoever takes a translation away flushes in time. A zapped leaf before mmu_lock goes, a removed table before the RCU
 * section ends as well, a page that becomes write-tracked before mmu_lock goes; and before anybody maps the gfn anew. What
 * counts is whether a processor still has the translation: an invalid root owes nothing, since nobody runs on it.
 */
import { LockMode } from '../../machine/probe.ts';
import { type Gfn, type Level, PG_LEVEL_4K } from '../../mmu/level.ts';
import { Site } from '../../mmu/site.ts';
import { isLastSpte, isShadowPresent } from '../../mmu/spte.ts';
import type { TracedOperation } from '../../mmu/trace.ts';
import type { Vcpu } from '../../vm/vcpu.ts';
import { findCachedTable, findStale, type StaleEntry } from './stale.ts';
import { breakRule, hex, type SpteChange, type StepRule, type WatchedThread } from './step-rule.ts';

/** Where a flush makes sure that pages that were made old look so. */
const AGING: ReadonlySet<number> = new Set([Site.kvm_mmu_notifier_clear_flush_young, Site.kvm_mmu_notifier_change_pte]);

/** What one thread has not flushed yet. */
class Debts {
  /** First and end of each range, in pairs. */
  readonly ranges: number[] = [];
  readonly tables: number[] = [];
  readonly tracked: number[] = [];
  /** What is taken apart now was frozen, and flushed, as a whole before: see `zapSpteAtomic`. */
  settled = false;

  clear(): void {
    this.ranges.length = 0;
    this.tables.length = 0;
    this.tracked.length = 0;
  }
}

export class FlushOwed implements StepRule {
  readonly name = 'flush-owed';
  readonly #vcpus: () => readonly Vcpu[];
  readonly #debts: Debts[] = [];

  constructor(vcpus: () => readonly Vcpu[]) {
    this.#vcpus = vcpus;
  }

  reset(): void {
    for (const debts of this.#debts) debts?.clear();
  }

  #of(thread: WatchedThread): Debts {
    return (this.#debts[thread.id] ??= new Debts());
  }

  spteChanged(thread: WatchedThread, { gfn, level, old, next }: SpteChange): void {
    const { geometry } = thread.vm.kvm;
    const end = gfn + geometry.span(level);
    if (isShadowPresent(next)) {
      if (!isShadowPresent(old) && isLastSpte(next, level)) this.#checkOthers(thread, gfn, end);
    } else if (isShadowPresent(old) && isLastSpte(old, level)) {
      const debts = this.#of(thread);
      if (!debts.settled) debts.ranges.push(gfn, end);
    }
  }

  /** A new translation while another thread has not flushed the one before. */
  #checkOthers(thread: WatchedThread, first: number, end: number): void {
    for (let id = 0; id < this.#debts.length; id++) {
      const debts = this.#debts[id];
      if (debts === undefined || id === thread.id) continue;
      for (let i = 0; i < debts.ranges.length; i += 2) {
        const stale = findStale(this.#vcpus(), Math.max(first, debts.ranges[i]), Math.min(end, debts.ranges[i + 1]), 'any');
        if (stale === null) continue;
        breakRule('mapped-before-flush', `${thread.name} maps gfn ${hex(first)} anew, but ${describe(stale)} not flushed yet`);
      }
    }
  }

  frozen(thread: WatchedThread, gfn: Gfn, level: Level): void {
    const debts = this.#of(thread);
    debts.settled = false;
    debts.ranges.push(gfn, gfn + thread.vm.kvm.geometry.span(level));
  }

  /** The freeze ends with the flush behind it: the bookkeeping that follows owes nothing more. */
  thawed(thread: WatchedThread): void {
    this.#of(thread).settled = thread.vm.kvm.generation.bookkeepingAfterFrozen;
  }

  walkStarted(thread: WatchedThread): void {
    this.#of(thread).settled = false;
  }

  tableRemoved(thread: WatchedThread, page: number): void {
    const debts = this.#of(thread);
    if (!debts.settled) debts.tables.push(page);
  }

  writeProtected(thread: WatchedThread, gfn: Gfn, minLevel: Level): void {
    if (minLevel === PG_LEVEL_4K) this.#of(thread).tracked.push(gfn);
  }

  /** Under mmu_lock nobody flushes but for what he did himself: it stops every vCPU. */
  operation(thread: WatchedThread, name: TracedOperation): void {
    if (name !== 'flush_all' || thread.mmuLockSite < 0 || AGING.has(thread.mmuLockSite)) return;
    const { ranges, tables, tracked } = this.#of(thread);
    if (ranges.length + tables.length + tracked.length > 0) return;
    breakRule('needless-flush', `${thread.name} flushes all TLBs, but has changed nothing since its last flush`);
  }

  flushed(thread: WatchedThread): void {
    this.#of(thread).clear();
  }

  rcuUnlocked(thread: WatchedThread): void {
    const { tables } = this.#of(thread);
    this.#checkTables(thread, tables, 'leaves its RCU section');
    tables.length = 0;
  }

  mmuUnlocked(thread: WatchedThread, mode: LockMode): void {
    const debts = this.#of(thread);
    const how = `releases mmu_lock (${mode === LockMode.read ? 'read' : 'write'})`;
    const { ranges, tables, tracked } = debts;
    for (let i = 0; i < ranges.length; i += 2) {
      const stale = findStale(this.#vcpus(), ranges[i], ranges[i + 1], 'outdated');
      if (stale !== null) breakRule('flush-owed', `${thread.name} ${how}, but ${describe(stale)} not flushed`);
    }
    debts.settled = false;
    this.#checkTables(thread, tables, how);
    for (const gfn of tracked) {
      const stale = findStale(this.#vcpus(), gfn, gfn + 1, 'writable');
      if (stale === null) continue;
      breakRule('tracked-writable', `${thread.name} ${how}: gfn ${hex(gfn)} is write-tracked, but ${describe(stale)} writable`);
    }
    debts.clear();
  }

  #checkTables(thread: WatchedThread, tables: readonly number[], how: string): void {
    for (const page of tables) {
      const vcpu = findCachedTable(this.#vcpus(), page);
      if (vcpu === null) continue;
      const what = `vCPU ${vcpu.id} still has the removed table ${page} in its paging-structure cache`;
      breakRule('table-flush-owed', `${thread.name} ${how}, but ${what}, and no flush is pending`);
    }
  }
}

function describe({ vcpu, entry, gfn }: StaleEntry): string {
  return `what vCPU ${vcpu.id} caches for gfn ${hex(gfn)} (level ${entry.level}, frame ${hex(entry.pfn)}) is`;
}
