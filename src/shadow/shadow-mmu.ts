/**
 * The rmap-based MMU as a whole: the baseline of 2019 (kernel: arch/x86/kvm/mmu.c of 5.4, direct maps only).
 *
 * One spinlock over everything, reverse maps for every mapped page, pages found by hash. What later kernels gave their rmap
 * MMU and the VM layer asks for is there, too: initially-set logs, retries on obsolete roots, NX recovery. Left out: shadowing
 * of guest page tables (unsync pages, write flooding), recycling of long reverse maps, mapping ahead of faults, and the limit
 * on the number of pages.
 */
import { invariant } from '../machine/invariant.ts';
import { read, type Task, write } from '../machine/point.ts';
import type { Word64 } from '../machine/word64.ts';
import { kvmFlushRemoteTlbs } from '../mmu/flush.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Level, MAX_HUGEPAGE_LEVEL, type Pfn, PG_LEVEL_2M, PG_LEVEL_4K } from '../mmu/level.ts';
import { type Memslot, slotEnd } from '../mmu/memslot.ts';
import type { MmuBackend } from '../mmu/mmu-backend.ts';
import { mmuWriteLock, mmuWriteUnlock } from '../mmu/mmu-lock.ts';
import { PageHeader, roleInvalid } from '../mmu/mmu-page.ts';
import type { PageFault } from '../mmu/page-fault-info.ts';
import { Site } from '../mmu/site.ts';
import type { VcpuMmu } from '../mmu/vcpu-mmu.ts';
import { directMap } from './direct-map.ts';
import { enableLogDirtyPtMasked } from './log-dirty.ts';
import type { Rmaps } from './rmap.ts';
import {
  ageRmap,
  changePteRmap,
  clearDirtyRmap,
  collapseRmap,
  testAgeRmap,
  writeProtectRmap,
  writeProtectRmapForGood,
  zapRmap,
} from './rmap-ops.ts';
import { commitZapPage, getPage, type InvalidList, isObsoleteSp, prepareZapPage } from './shadow-page.ts';
import { handleRange, slotPart, wholeSlot } from './slot-walk.ts';
import { recoverNxHugePages, zapAll, zapAllFast } from './zap-pages.ts';

/** KVM_ADDRESS_SPACE_NUM: normal and SMM. */
const ADDRESS_SPACES = 2;

export class ShadowMmu implements MmuBackend {
  readonly rmaps: Rmaps;

  constructor(rmaps: Rmaps) {
    this.rmaps = rmaps;
  }

  /** __direct_map. mmu_lock is held. */
  *map(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<number> {
    return yield* directMap(kvm, this.rmaps, vcpu, fault);
  }

  /** mmu_alloc_direct_roots: a root is a page like others, so vCPUs of one role find the same. */
  *allocRoot(kvm: Kvm, vcpu: VcpuMmu, role: number): Task<number> {
    yield* mmuWriteLock(kvm, Site.mmu_alloc_direct_roots);
    const root = yield* getPage(kvm, this.rmaps, vcpu, asGfn(0), role);
    const count = kvm.pages.word(root, PageHeader.rootCount);
    kvm.memory.store32(yield write(count), kvm.memory.load32(yield read(count)) + 1);
    yield* mmuWriteUnlock(kvm);
    return root;
  }

  *isObsolete(kvm: Kvm, root: number): Task<boolean> {
    return yield* isObsoleteSp(kvm, root);
  }

  /** mmu_free_root_page: a valid root that nobody uses stays in the hash, an invalid one goes. */
  *freeRoots(kvm: Kvm, roots: readonly number[]): Task<void> {
    const invalid: InvalidList = [];
    yield* mmuWriteLock(kvm, Site.kvm_mmu_unload);
    for (const root of roots) {
      const count = kvm.pages.word(root, PageHeader.rootCount);
      const left = kvm.memory.load32(yield read(count)) - 1;
      invariant(left >= 0, 'root-refcount-underflow', `root ${root} was put without a reference`);
      kvm.memory.store32(yield write(count), left);
      const role = kvm.memory.load32(yield read(kvm.pages.word(root, PageHeader.role)));
      if (left === 0 && roleInvalid(role)) yield* prepareZapPage(kvm, this.rmaps, root, invalid);
    }
    yield* commitZapPage(kvm, invalid);
    yield* mmuWriteUnlock(kvm);
  }

  /** kvm_unmap_hva_range: whether it may block or not, the lock is kept to the end. */
  *unmapGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn, flush: boolean): Task<boolean> {
    return yield* handleRange(kvm, this.rmaps, slotPart(slot, start, end), zapRmap, flush);
  }

  *ageGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn): Task<boolean> {
    return yield* handleRange(kvm, this.rmaps, slotPart(slot, start, end), ageRmap);
  }

  *testAgeGfnRange(kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn): Task<boolean> {
    return yield* handleRange(kvm, this.rmaps, slotPart(slot, start, end), testAgeRmap);
  }

  *setSpteGfn(kvm: Kvm, slot: Memslot, gfn: Gfn, pfn: Pfn, writable: boolean): Task<boolean> {
    const range = { ...slotPart(slot, gfn, asGfn(gfn + 1)), maxLevel: PG_LEVEL_4K };
    return yield* handleRange(kvm, this.rmaps, range, changePteRmap(pfn, writable));
  }

  /** kvm_zap_gfn_range without its lock. */
  *zapGfnRange(kvm: Kvm, start: Gfn, end: Gfn): Task<boolean> {
    let flush = false;
    for (let asId = 0; asId < ADDRESS_SPACES; asId++) {
      for (const slot of yield* kvm.slots.all(kvm, asId)) {
        const first = asGfn(Math.max(start, slot.baseGfn));
        const last = asGfn(Math.min(end, slotEnd(slot)));
        if (first >= last) continue;
        const range = { ...slotPart(slot, first, last), yields: 'flush' as const };
        flush = yield* handleRange(kvm, this.rmaps, range, zapRmap, flush);
      }
    }
    return flush;
  }

  *slotRemoveWriteAccess(kvm: Kvm, slot: Memslot, minLevel: Level): Task<boolean> {
    yield* mmuWriteLock(kvm, Site.kvm_mmu_slot_remove_write_access);
    kvm.trace?.wrprotSlot(minLevel);
    const range = wholeSlot(slot, minLevel, MAX_HUGEPAGE_LEVEL, 'later');
    const flush = yield* handleRange(kvm, this.rmaps, range, writeProtectRmap);
    yield* mmuWriteUnlock(kvm);
    return flush;
  }

  /** Of 4K pages only: huge ones lose W, and are logged by the fault that makes them small. */
  *slotLeafClearDirty(kvm: Kvm, slot: Memslot): Task<boolean> {
    yield* mmuWriteLock(kvm, Site.kvm_mmu_slot_leaf_clear_dirty);
    kvm.trace?.clearDirtySlot();
    const range = wholeSlot(slot, PG_LEVEL_4K, PG_LEVEL_4K, 'later');
    const flush = yield* handleRange(kvm, this.rmaps, range, clearDirtyRmap);
    yield* mmuWriteUnlock(kvm);
    return flush;
  }

  /** Later kernels look at 2M pages, too, which a 1G page may replace. */
  *slotZapCollapsible(kvm: Kvm, slot: Memslot): Task<void> {
    yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_collapsible_sptes);
    kvm.trace?.operation('zap_collapsible');
    const range = wholeSlot(slot, PG_LEVEL_4K, PG_LEVEL_2M, 'flush');
    if (yield* handleRange(kvm, this.rmaps, range, collapseRmap(slot))) yield* kvmFlushRemoteTlbs(kvm);
    yield* mmuWriteUnlock(kvm);
  }

  *enableLogDirtyPtMasked(kvm: Kvm, slot: Memslot, offset: number, mask: Word64): Task<void> {
    yield* enableLogDirtyPtMasked(kvm, this.rmaps, slot, offset, mask);
  }

  *writeProtectGfn(kvm: Kvm, slot: Memslot, gfn: Gfn, minLevel: Level): Task<boolean> {
    const range = { ...slotPart(slot, gfn, asGfn(gfn + 1)), minLevel };
    return yield* handleRange(kvm, this.rmaps, range, writeProtectRmapForGood);
  }

  *zapAllFast(kvm: Kvm): Task<void> {
    yield* zapAllFast(kvm, this.rmaps);
  }

  *zapAll(kvm: Kvm): Task<void> {
    yield* zapAll(kvm, this.rmaps);
  }

  *recoverNxHugePages(kvm: Kvm): Task<number> {
    return yield* recoverNxHugePages(kvm, this.rmaps);
  }
}
