/**
 * The walk over a memslot's reverse maps: level by level, gfn by gfn, mapped or not (kernel: slot_handle_level_range,
 * for_each_slot_rmap_range, kvm_handle_hva_range in arch/x86/kvm/mmu.c of 5.4).
 */
import { Cost } from '../machine/cost.ts';
import { type Address, read, spend, type Task } from '../machine/point.ts';
import { kvmFlushRemoteTlbs } from '../mmu/flush.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Level, MAX_HUGEPAGE_LEVEL } from '../mmu/level.ts';
import { type Memslot, slotEnd } from '../mmu/memslot.ts';
import { assertMmuLockHeldWrite } from '../mmu/mmu-lock.ts';
import { Site } from '../mmu/site.ts';
import { breakMmuLock, needBreak } from './cond-resched.ts';
import { rmapHead } from './drop-spte.ts';
import type { Rmaps } from './rmap.ts';

/** What is done with the SPTEs of one gfn at one level; returns whether it counts (mostly: a flush is owed). */
export type RmapHandler = (kvm: Kvm, rmaps: Rmaps, sptes: readonly Address[]) => Task<boolean>;

/**
 * Whether the walk gives mmu_lock away where somebody waits for it. 'flush': after flushing what is owed, because what was
 * unmapped must not be used once the lock is free. 'later': the caller flushes when all is done. 'never': a notifier's walk
 * keeps the lock to its end, however long that is.
 */
export type YieldRule = 'never' | 'later' | 'flush';

export interface SlotRange {
  readonly slot: Memslot;
  readonly start: Gfn;
  readonly end: Gfn;
  readonly minLevel: Level;
  readonly maxLevel: Level;
  readonly yields: YieldRule;
}

/** The whole slot, at the levels from `minLevel` to `maxLevel`. */
export function wholeSlot(slot: Memslot, minLevel: Level, maxLevel: Level, yields: YieldRule): SlotRange {
  return { slot, start: slot.baseGfn, end: slotEnd(slot), minLevel, maxLevel, yields };
}

/** Part of a slot at all levels, without yielding: as notifiers walk. */
export function slotPart(slot: Memslot, start: Gfn, end: Gfn): SlotRange {
  return { slot, start, end, minLevel: 1, maxLevel: MAX_HUGEPAGE_LEVEL, yields: 'never' };
}

/**
 * Calls `handler` for every reverse map of the range that is not empty; a range within the slot. mmu_lock is held.
 *
 * @returns whether a call counted, apart from those whose flush was made before a yield
 */
export function* handleRange(kvm: Kvm, rmaps: Rmaps, range: SlotRange, handler: RmapHandler, flush = false): Task<boolean> {
  assertMmuLockHeldWrite(kvm);
  const { slot, start, end, yields } = range;
  let owed = flush;
  for (let level = range.minLevel; level <= range.maxLevel; level++) {
    const span = kvm.geometry.span(level);
    for (let gfn = kvm.geometry.round(start, level); gfn < end; gfn = asGfn(gfn + span)) {
      const head = rmapHead(kvm, slot, gfn < slot.baseGfn ? slot.baseGfn : gfn, level);
      yield spend(Cost.iterStep);
      if (rmaps.memory.load32(yield read(head)) !== 0) {
        if (yield* handler(kvm, rmaps, yield* rmaps.list(head))) owed = true;
      }
      if (yields === 'never' || !(yield* needBreak(kvm))) continue;
      if (owed && yields === 'flush') {
        yield* kvmFlushRemoteTlbs(kvm);
        owed = false;
      }
      yield* breakMmuLock(kvm, Site.slot_handle_level_range);
    }
  }
  return owed;
}
