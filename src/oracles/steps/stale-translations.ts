/**
 * Step oracle: what processors have cached, at the deadlines of flushes. When mmu_lock goes, no TLB has a translation that was
 * zapped under it, unless a flush is pending there; when the RCU section ends, no paging-structure cache has a table that was
 * removed; and a gfn that became write-tracked is writable in no TLB. Before anybody maps a gfn anew, nobody has the old one.
 *
 * Unlike the flush debts, which count whether somebody flushed, this looks at whether it helped: a flush of the wrong range, or
 * one that missed a processor, is found here.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { LockMode } from '../../machine/probe.ts';
import { PG_LEVEL_4K } from '../../mmu/level.ts';
import { isLastSpte, isShadowPresent } from '../../mmu/spte.ts';
import { findCachedTable, findStale, type StaleEntry } from '../cached-translations.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';
import type { ThreadView } from '../thread-view.ts';

/** What one thread has changed and not flushed yet. */
class Changes {
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

export function staleTranslationsOracle(): StepOracle {
  const threads: Changes[] = [];
  const of = (thread: ThreadView): Changes => (threads[thread.id] ??= new Changes());

  /** A new translation while another thread has not flushed the one before. */
  const checkOthers = (world: StepWorld, thread: ThreadView, first: number, end: number): void => {
    for (let id = 0; id < threads.length; id++) {
      const changes = threads[id];
      if (changes === undefined || id === thread.id) continue;
      for (let i = 0; i < changes.ranges.length; i += 2) {
        const stale = findStale(world.vcpus, Math.max(first, changes.ranges[i]), Math.min(end, changes.ranges[i + 1]), 'any');
        if (stale === null) continue;
        const message = `${thread.name} maps gfn ${hex(first)} anew, but ${describe(stale)} not flushed yet`;
        world.fail(oracle, 'mapped-over-stale', { thread: thread.id, gfn: first }, message);
      }
    }
  };

  const checkTables = (world: StepWorld, thread: ThreadView, tables: readonly number[], how: string): void => {
    for (const page of tables) {
      const vcpu = findCachedTable(world.vcpus, page);
      if (vcpu === null) continue;
      const what = `vCPU ${vcpu.id} still has the removed table ${page} in its paging-structure cache`;
      const where = { thread: thread.id, vcpu: vcpu.id, page };
      world.fail(oracle, 'stale-table', where, `${thread.name} ${how}, but ${what}, and no flush is pending`);
    }
  };

  const oracle: StepOracle = {
    name: 'stale-translations',
    help: 'no processor has a translation whose flush is over its deadline',
    start() {
      for (const changes of threads) {
        if (changes === undefined) continue;
        changes.clear();
        changes.settled = false;
      }
    },
    spteChanged(world, thread, { gfn, level, old, next }) {
      const end = gfn + world.kvm.geometry.span(level);
      if (isShadowPresent(next)) {
        if (!isShadowPresent(old) && isLastSpte(next, level)) checkOthers(world, thread, gfn, end);
      } else if (isShadowPresent(old) && isLastSpte(old, level)) {
        const changes = of(thread);
        if (!changes.settled) changes.ranges.push(gfn, end);
      }
    },
    spteFrozen(world, thread, gfn, level) {
      const changes = of(thread);
      changes.settled = false;
      changes.ranges.push(gfn, gfn + world.kvm.geometry.span(level));
    },
    /** The freeze ends with the flush behind it: the bookkeeping that follows owes nothing more. */
    spteThawed(world, thread) {
      of(thread).settled = world.kvm.generation.bookkeepingAfterFrozen;
    },
    walkStarted(_world, thread) {
      of(thread).settled = false;
    },
    tableRemoved(_world, thread, page) {
      const changes = of(thread);
      if (!changes.settled) changes.tables.push(page);
    },
    writeProtected(_world, thread, gfn, minLevel) {
      if (minLevel === PG_LEVEL_4K) of(thread).tracked.push(gfn);
    },
    flushDone(_world, thread) {
      threads[thread.id]?.clear();
    },
    rcuLeft(world, thread) {
      const changes = threads[thread.id];
      if (changes === undefined || changes.tables.length === 0) return;
      checkTables(world, thread, changes.tables, 'leaves its RCU section');
      changes.tables.length = 0;
    },
    lockReleased(world, thread, lock, mode) {
      const changes = threads[thread.id];
      if (lock !== LockNumber.mmuLock || changes === undefined) return;
      const how = `releases mmu_lock (${mode === LockMode.read ? 'read' : 'write'})`;
      const { ranges, tables, tracked } = changes;
      for (let i = 0; i < ranges.length; i += 2) {
        const stale = findStale(world.vcpus, ranges[i], ranges[i + 1], 'outdated');
        if (stale === null) continue;
        const where = { thread: thread.id, vcpu: stale.vcpu.id, gfn: stale.gfn };
        world.fail(oracle, 'stale-translation', where, `${thread.name} ${how}, but ${describe(stale)} not flushed`);
      }
      changes.settled = false;
      checkTables(world, thread, tables, how);
      for (const gfn of tracked) {
        const stale = findStale(world.vcpus, gfn, gfn + 1, 'writable');
        if (stale === null) continue;
        const message = `${thread.name} ${how}: gfn ${hex(gfn)} is write-tracked, but ${describe(stale)} writable`;
        world.fail(oracle, 'tracked-writable', { thread: thread.id, vcpu: stale.vcpu.id, gfn }, message);
      }
      changes.clear();
    },
  };
  return oracle;
}

function describe({ vcpu, entry, gfn }: StaleEntry): string {
  return `what vCPU ${vcpu.id} caches for gfn ${hex(gfn)} (level ${entry.level}, frame ${hex(entry.pfn)}) is`;
}
