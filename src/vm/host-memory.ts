/** The host's memory as the MMU asks for it (kernel: __gfn_to_pfn_memslot, host_pfn_mapping_level). */
import { Cost } from '../machine/cost.ts';
import { InvariantError } from '../machine/invariant.ts';
import { own, spend, type Task } from '../machine/point.ts';
import { FaultinResult, type Host } from '../mmu/host.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { type Gfn, type Level, type Pfn, PG_LEVEL_4K } from '../mmu/level.ts';
import { type Memslot, SlotFlag } from '../mmu/memslot.ts';
import type { PageFault } from '../mmu/page-fault-info.ts';
import { FIRST_GUEST_PFN, FREE_FRAME } from './frames.ts';
import { faultHostPage, NO_HOST_PAGE } from './host-fault.ts';
import { isHuge, isPresent, isWritable } from './host-pte.ts';
import { type HostSpace, readHostPte } from './host-space.ts';

export class HostMemory implements Host {
  readonly space: HostSpace;
  /** Told of every frame that the MMU reports dirty. For oracles. */
  onPageDirty: ((pfn: Pfn) => void) | null = null;

  constructor(space: HostSpace) {
    this.space = space;
  }

  *faultin(kvm: Kvm, fault: PageFault): Task<FaultinResult> {
    const slot = fault.slot!;
    const readonly = (slot.flags & SlotFlag.readonly) !== 0;
    if (fault.write && readonly) {
      fault.writeFaultToReadonly = true;
      return FaultinResult.error;
    }
    const { space } = this;
    const region = space.regions[slot.region];
    const page = slot.regionPage + (fault.gfn - slot.baseGfn);
    yield spend(Cost.gup);
    const pte = yield* faultHostPage(kvm, space, region, page, fault.write);
    if (pte === NO_HOST_PAGE) return FaultinResult.error;
    fault.pfn = space.pfn(region, page, pte);
    fault.mapWritable = isWritable(pte) && !readonly;
    return FaultinResult.ok;
  }

  *mappingLevel(_kvm: Kvm, slot: Memslot, gfn: Gfn): Task<Level> {
    const { space } = this;
    const region = space.regions[slot.region];
    const page = slot.regionPage + (gfn - slot.baseGfn);
    if (page >= region.pages) return PG_LEVEL_4K;
    const pte = yield* readHostPte(space, region, page);
    return isPresent(pte) && isHuge(pte) ? region.hugeLevel : PG_LEVEL_4K;
  }

  /**
   * Nothing is written back or reclaimed here by its dirtiness. But the frame must still be the guest's: one that the host has
   * taken back may have another owner. Errors: freed-frame, pfn-not-guest-memory.
   */
  setPageDirty(_kvm: Kvm, pfn: Pfn): void {
    this.#checkFrame(pfn);
    const { frames } = this.space;
    if (frames.tracked && frames.memory.load32(own(frames.contentWord(pfn))) === FREE_FRAME) {
      throw new InvariantError('freed-frame', `frame 0x${pfn.toString(16)} is reported dirty, but the host has taken it back`);
    }
    if (this.onPageDirty !== null) this.onPageDirty(pfn);
  }

  setPageAccessed(_kvm: Kvm, pfn: Pfn): void {
    this.#checkFrame(pfn);
  }

  #checkFrame(pfn: Pfn): void {
    const index = pfn - FIRST_GUEST_PFN;
    if (index < 0 || index >= this.space.frames.layout.count) {
      throw new InvariantError('pfn-not-guest-memory', `an SPTE mapped frame ${pfn}, which is no guest memory`);
    }
  }
}
