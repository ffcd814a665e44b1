/**
 * The rmap-based MMU as a whole: the baseline of 2019 (kernel: arch/x86/kvm/mmu.c of 5.4, direct maps only).
 *
 * One spinlock over everything, reverse maps for every mapped page, pages found by hash. Left out: shadowing of guest page
 * tables (unsync pages, write flooding), recycling of long reverse maps, and the limit on the number of pages.
 */
import { Cost } from '../machine/cost.ts';
import { invariant } from '../machine/invariant.ts';
import { count, read, spend, type Task } from '../machine/point.ts';
import { makeAllVcpusRequest, Request } from '../machine/tlb-shootdown.ts';
import { or64, type Word64 } from '../machine/word64.ts';
import { kvmMmuMaxMappingLevel } from '../mmu/collapse.ts';
import { MmuCounter } from '../mmu/counters.ts';
import { fastPageFault } from '../mmu/fast-page-fault.ts';
import { ENOMEM, kvmFaultinPfn, staleRange, topupMemoryCaches } from '../mmu/faultin.ts';
import { kvmFlushRemoteTlbs } from '../mmu/flush.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Level, MAX_HUGEPAGE_LEVEL, PG_LEVEL_4K } from '../mmu/level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import type { MmuBackend } from '../mmu/mmu-backend.ts';
import { mmuLockIsContended, mmuWriteLock, mmuWriteUnlock } from '../mmu/mmu-lock.ts';
import { PageHeader } from '../mmu/mmu-page.ts';
import { type PageFault, RetPf, RetryReason } from '../mmu/page-fault-info.ts';
import { Site } from '../mmu/site.ts';
import { WRITABLE_BIT } from '../mmu/spte.ts';
import type { VcpuMmu } from '../mmu/vcpu-mmu.ts';
import { directMap } from './direct-map.ts';
import type { Rmaps } from './rmap.ts';
import {
  ageRmap,
  clearBitsHandler,
  collapseHandler,
  handleRange,
  type SlotRange,
  testAgeRmap,
  wholeSlot,
  zapRmap,
} from './rmap-ops.ts';
import { ShadowHeader, ShadowWord } from './shadow-layout.ts';
import { commitZapPage, getPage, type InvalidList, isObsoleteSp, prepareZapPage } from './shadow-page.ts';

/** Pages zapped in one go before the lock may be given away (BATCH_ZAP_PAGES). */
const BATCH_ZAP_PAGES = 10;

export class ShadowMmu implements MmuBackend {
  readonly rmaps: Rmaps;

  constructor(rmaps: Rmaps) {
    this.rmaps = rmaps;
  }

  *pageFault(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<number> {
    const fast = yield* fastPageFault(kvm, vcpu, fault);
    if (fast !== RetPf.invalid) return fast;
    if (!(yield* topupMemoryCaches(kvm, vcpu))) return -ENOMEM;
    const found = yield* kvmFaultinPfn(kvm, fault);
    if (found !== RetPf.continue) return found;
    yield* mmuWriteLock(kvm, Site.kvm_tdp_page_fault);
    let result: number = RetPf.retry;
    const stale = (yield* isObsoleteSp(kvm, vcpu.root)) ? RetryReason.staleRoot : yield* staleRange(kvm, fault);
    if (stale === RetryReason.none) result = yield* directMap(kvm, this.rmaps, vcpu, fault);
    else fault.retryReason = stale;
    yield* mmuWriteUnlock(kvm);
    return result;
  }

  *allocRoot(kvm: Kvm, vcpu: VcpuMmu, role: number): Task<number> {
    yield* mmuWriteLock(kvm, Site.mmu_alloc_direct_roots);
    const root = yield* getPage(kvm, this.rmaps, vcpu, asGfn(0), role);
    kvm.memory.add32(yield count(kvm.pages.word(root, PageHeader.rootCount)), 1);
    yield* mmuWriteUnlock(kvm);
    return root;
  }

  *isObsolete(kvm: Kvm, root: number): Task<boolean> {
    return yield* isObsoleteSp(kvm, root);
  }

  *freeRoots(kvm: Kvm, roots: readonly number[]): Task<void> {
    const invalid: InvalidList = [];
    yield* mmuWriteLock(kvm, Site.kvm_mmu_unload);
    for (const root of roots) {
      const old = kvm.memory.add32(yield count(kvm.pages.word(root, PageHeader.rootCount)), -1);
      invariant(old > 0, 'root-refcount-underflow', `root ${root} was put with ${old} references`);
      const role = kvm.memory.load32(yield read(kvm.pages.word(root, PageHeader.role)));
      if (old === 1 && role < 0) yield* prepareZapPage(kvm, this.rmaps, root, invalid);
    }
    yield* commitZapPage(kvm, invalid);
    yield* mmuWriteUnlock(kvm);
  }

  *unmapGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn, flush: boolean, mayBlock: boolean): Task<boolean> {
    return yield* handleRange(kvm, this.rmaps, this.#range(slot, start, end, mayBlock), zapRmap, flush);
  }

  *ageGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn): Task<boolean> {
    return yield* handleRange(kvm, this.rmaps, this.#range(slot, start, end, false), ageRmap);
  }

  *testAgeGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn): Task<boolean> {
    return yield* handleRange(kvm, this.rmaps, this.#range(slot, start, end, false), testAgeRmap);
  }

  #range(slot: Memslot, start: Gfn, end: Gfn, mayYield: boolean): SlotRange {
    return { slot, start, end, minLevel: PG_LEVEL_4K, maxLevel: MAX_HUGEPAGE_LEVEL, mayYield };
  }

  *slotRemoveWriteAccess(kvm: Kvm, slot: Memslot, minLevel: Level): Task<boolean> {
    const handler = clearBitsHandler(WRITABLE_BIT, MmuCounter.write_protected);
    yield* mmuWriteLock(kvm, Site.kvm_mmu_slot_remove_write_access);
    const changed = yield* handleRange(kvm, this.rmaps, wholeSlot(slot, minLevel, true), handler);
    yield* mmuWriteUnlock(kvm);
    return changed;
  }

  *slotLeafClearDirty(kvm: Kvm, slot: Memslot): Task<boolean> {
    const handler = clearBitsHandler(kvm.spte.dirty, MmuCounter.dirty_cleared);
    yield* mmuWriteLock(kvm, Site.kvm_mmu_slot_leaf_clear_dirty);
    const changed = yield* handleRange(kvm, this.rmaps, wholeSlot(slot, PG_LEVEL_4K, true), handler);
    yield* mmuWriteUnlock(kvm);
    return changed;
  }

  *slotZapCollapsible(kvm: Kvm, slot: Memslot): Task<void> {
    const levelOf = (k: Kvm, gfn: Gfn) => kvmMmuMaxMappingLevel(k, slot, gfn);
    yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_collapsible_sptes);
    const range = { ...wholeSlot(slot, PG_LEVEL_4K, true), maxLevel: PG_LEVEL_4K };
    if (yield* handleRange(kvm, this.rmaps, range, collapseHandler(slot, levelOf))) yield* kvmFlushRemoteTlbs(kvm);
    yield* mmuWriteUnlock(kvm);
  }

  *enableLogDirtyPtMasked(kvm: Kvm, slot: Memslot, offset: number, mask: Word64): Task<void> {
    const { pml } = kvm.params;
    const bits = pml ? kvm.spte.dirty : WRITABLE_BIT;
    const handler = clearBitsHandler(bits, pml ? MmuCounter.dirty_cleared : MmuCounter.write_protected);
    for (let i = 0; i < 64; i++) {
      if (((i < 32 ? mask.lo >>> i : mask.hi >>> (i - 32)) & 1) === 0) continue;
      const gfn = asGfn(slot.baseGfn + offset + i);
      const range = { ...this.#range(slot, gfn, asGfn(gfn + 1), false), maxLevel: PG_LEVEL_4K };
      yield* handleRange(kvm, this.rmaps, range, handler);
    }
    // Initially-set mode leaves huge pages writable when logging begins: they are protected for good here.
    if (!kvm.params.initiallySet) return;
    const first = asGfn(slot.baseGfn + offset);
    const huge = clearBitsHandler(or64(WRITABLE_BIT, kvm.spte.mmuWritable), MmuCounter.write_protected);
    const range = { ...this.#range(slot, first, asGfn(first + 64), false), minLevel: PG_LEVEL_4K + 1 };
    yield* handleRange(kvm, this.rmaps, range, huge);
  }

  *writeProtectGfn(kvm: Kvm, slot: Memslot, gfn: Gfn, minLevel: Level): Task<boolean> {
    const both = clearBitsHandler(or64(WRITABLE_BIT, kvm.spte.mmuWritable), MmuCounter.write_protected);
    const range = { ...this.#range(slot, gfn, asGfn(gfn + 1), false), minLevel };
    return yield* handleRange(kvm, this.rmaps, range, both);
  }

  *zapAllFast(kvm: Kvm): Task<void> {
    yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_all_fast);
    kvm.trace?.operation('kvm_mmu_zap_all_fast');
    const generation = kvm.word(KvmWord.validGen);
    kvm.memory.xchg32(yield count(generation), 1 - kvm.memory.load32(yield read(generation)));
    yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.freeObsoleteRoots, { wait: true });
    yield* this.#zapPages(kvm, true);
    yield* mmuWriteUnlock(kvm);
  }

  *zapAll(kvm: Kvm): Task<void> {
    yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_all);
    kvm.trace?.operation('zap_all');
    yield* this.#zapPages(kvm, false);
    yield* mmuWriteUnlock(kvm);
  }

  /** Zaps active pages, oldest first, giving the lock away every few of them (kvm_zap_obsolete_pages). */
  *#zapPages(kvm: Kvm, obsoleteOnly: boolean): Task<void> {
    const invalid: InvalidList = [];
    const tail = this.rmaps.layout.word(ShadowWord.activeTail);
    let batch = 0;
    let page = kvm.memory.load32(yield read(tail));
    while (page !== 0) {
      if (obsoleteOnly && !(yield* isObsoleteSp(kvm, page))) break;
      const prev = kvm.memory.load32(yield read(kvm.pages.word(page, ShadowHeader.activePrev)));
      if (kvm.memory.load32(yield read(kvm.pages.word(page, PageHeader.role))) < 0) {
        page = prev;
        continue;
      }
      yield* prepareZapPage(kvm, this.rmaps, page, invalid);
      page = prev;
      if (++batch < BATCH_ZAP_PAGES || !(kvm.thread.needResched() || (yield* mmuLockIsContended(kvm)))) continue;
      batch = 0;
      yield* commitZapPage(kvm, invalid);
      kvm.trace?.yielded('write');
      yield* mmuWriteUnlock(kvm);
      yield spend(Cost.reschedule);
      yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_all_fast);
      page = kvm.memory.load32(yield read(tail));
    }
    yield* commitZapPage(kvm, invalid);
  }
}
