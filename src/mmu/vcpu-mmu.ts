/** A vCPU's side of the MMU (kernel: struct kvm_mmu and the caches of struct kvm_vcpu_arch). */
import { PageCache } from '../machine/page-cache.ts';
import type { Kvm } from './kvm.ts';
import { asGfn, type Gfn } from './level.ts';
import { PageFault } from './page-fault-info.ts';
import { TdpIter } from './tdp-iter.ts';

/** KVM_MMU_NUM_PREV_ROOTS */
export const PREV_ROOTS = 3;

export interface VcpuMmuOptions {
  readonly vcpu: number;
  /** Called when a root was loaded: the TLB must be flushed and tagged with it. `root` 0: none is loaded. */
  readonly onLoadRoot: (root: number) => void;
}

export class VcpuMmu {
  readonly vcpu: number;
  readonly onLoadRoot: (root: number) => void;
  /** Page-table pages at hand, topped up before mmu_lock is taken (mmu_shadow_page_cache). */
  readonly pageCache: PageCache;
  /** The root in use, 0 for none. The vCPU holds a reference to it and to each cached one. */
  root = 0;
  readonly prevRoots = new Int32Array(PREV_ROOTS);
  /** Address space of the vCPU: 1 while it is in SMM. */
  asId = 0;
  /** Role of the roots it loads: guest_mode for a nested guest. */
  guestMode = false;
  /** The MMIO gfn that faulted last, 0 for none, and the memslot generation of then (mmio_gfn, mmio_gen): see `mmio.ts`. */
  mmioGfn: Gfn = asGfn(0);
  mmioGeneration = 0;
  /** The fault and the walk in progress; a vCPU has one at a time. */
  readonly fault = new PageFault();
  readonly iter: TdpIter;

  constructor(kvm: Kvm, options: VcpuMmuOptions) {
    this.vcpu = options.vcpu;
    this.onLoadRoot = options.onLoadRoot;
    this.pageCache = new PageCache(kvm.config.pageCache);
    this.iter = new TdpIter(kvm.spte.nonpresent, true);
  }
}
