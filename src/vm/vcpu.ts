/**
 * A vCPU as the thread that runs it holds it (kernel: struct kvm_vcpu, with the processor that it runs on).
 *
 * What others may see of it is in the arena: its requests and mode (`tlb-shootdown.ts`), its root's references, and its area
 * (`vcpu-layout.ts`). The handle is that thread's alone.
 */
import type { Memory } from '../machine/memory.ts';
import { type Address, own, type Task } from '../machine/point.ts';
import type { Thread } from '../machine/thread.ts';
import type { VcpuRequests } from '../machine/tlb-shootdown.ts';
import type { Kvm } from '../mmu/kvm.ts';
import type { Gfn, Pfn } from '../mmu/level.ts';
import { VcpuMmu } from '../mmu/vcpu-mmu.ts';
import { PageWalker } from './page-walker.ts';
import { PagingStructureCache } from './paging-structure-cache.ts';
import { PmlBuffer } from './pml.ts';
import { Tlb } from './tlb.ts';
import { VcpuCounter } from './vcpu-counters.ts';
import { type VcpuArea, VcpuWord } from './vcpu-layout.ts';

/** How a guest access, or a run, ended. */
export const GuestResult = {
  /** The access took place. */
  done: 0,
  /** It was emulated by user space (KVM_EXIT_MMIO): it has taken place, and reached no memory. */
  mmio: 1,
  /** The dirty ring is full (KVM_EXIT_DIRTY_RING_FULL): the access has not taken place. */
  dirtyRingFull: 2,
  /** No host page, or none that may be written (KVM_RUN fails with EFAULT): the access has not taken place. */
  fault: 3,
  /** No page for a page table (KVM_RUN fails with ENOMEM). */
  noMemory: 4,
  /** The VM is dead (KVM_REQ_VM_DEAD). */
  dead: 5,
} as const;
export type GuestResult = (typeof GuestResult)[keyof typeof GuestResult];

/** Who listens to what a guest reads and writes: for oracles. Listeners must not touch the arena through grants. */
export interface GuestObserver {
  /** The guest wrote `gfn`, which its translation took for frame `pfn`; the frame has this version now. */
  wrote(vcpu: number, gfn: Gfn, pfn: Pfn, version: number): void;
  read(vcpu: number, gfn: Gfn, pfn: Pfn, version: number): void;
}

/** The user space of a vCPU with a dirty ring. */
export interface DirtyRingExits {
  /** Whether the ring is so full that the vCPU must not enter the guest (kvm_dirty_ring_soft_full). */
  softFull(vcpu: number): Task<boolean>;
  /** KVM_EXIT_DIRTY_RING_FULL: returns true when the ring has room again, and false where the run shall end. */
  exitToUser(vcpu: number): Task<boolean>;
}

export interface VcpuOptions {
  readonly kvm: Kvm;
  /** 0, 1, 2, … */
  readonly id: number;
  readonly area: VcpuArea;
  /** The word that stands for the content of a frame: its version. Null: contents are not tracked. */
  readonly contentWord: ((pfn: Pfn) => Address) | null;
  readonly observer?: GuestObserver | null;
  readonly dirtyRing?: DirtyRingExits | null;
  /** Where the guest's code is: fetched first after each entry. Null: fetching is not modelled. */
  readonly codeGfn?: Gfn | null;
  /** Forget all translations at each guest entry, as processors without address space identifiers and some emulators do. */
  readonly flushOnEntry?: boolean;
  /** Wait, before a fault is tried again, for what stood in its way to change: see `await-retry.ts`. */
  readonly awaitRetries?: boolean;
}

export class Vcpu {
  readonly id: number;
  readonly kvm: Kvm;
  readonly thread: Thread;
  readonly memory: Memory;
  readonly counters: Float64Array;
  readonly requests: VcpuRequests;
  readonly area: VcpuArea;
  readonly mmu: VcpuMmu;
  readonly tlb: Tlb;
  readonly pwc: PagingStructureCache;
  readonly pml: PmlBuffer;
  readonly walker: PageWalker;
  readonly contentWord: ((pfn: Pfn) => Address) | null;
  readonly observer: GuestObserver | null;
  readonly dirtyRing: DirtyRingExits | null;
  readonly flushOnEntry: boolean;
  readonly awaitRetries: boolean;
  /** See {@link VcpuOptions}; a script may change it between runs. */
  codeGfn: Gfn | null;
  /** Whether the vCPU entered the guest and has not left it: it may have been told to. */
  inGuest = false;
  /** The guest's next instruction must be fetched. */
  mustFetch = false;
  /** KVM_REQ_TLB_FLUSH_GUEST: in some kernels the reset of a new vCPU asks for one flush. */
  resetFlush: boolean;
  /** The version that the last tracked access read or made. */
  version = 0;

  /** A new vCPU: outside the guest, without a root, its caches empty (kvm_arch_vcpu_create). */
  constructor(options: VcpuOptions) {
    const { kvm, area } = options;
    this.id = options.id;
    this.kvm = kvm;
    this.resetFlush = kvm.generation.flushOnVcpuReset;
    kvm.runningVcpu = options.id;
    this.thread = kvm.thread;
    this.memory = kvm.memory;
    this.counters = kvm.counters;
    this.requests = kvm.requests;
    this.area = area;
    this.contentWord = options.contentWord;
    this.observer = options.observer ?? null;
    this.dirtyRing = options.dirtyRing ?? null;
    this.codeGfn = options.codeGfn ?? null;
    this.flushOnEntry = options.flushOnEntry ?? false;
    this.awaitRetries = options.awaitRetries ?? false;
    this.tlb = new Tlb(this.memory, kvm.geometry, area);
    this.pwc = new PagingStructureCache(this.memory, kvm.geometry, area);
    this.pml = new PmlBuffer(this.memory, area);
    this.walker = new PageWalker({ kvm, tlb: this.tlb, pwc: this.pwc, pml: this.pml });
    this.mmu = new VcpuMmu(kvm, { vcpu: options.id, onLoadRoot: (root) => this.#useRoot(root) });
    this.tlb.reset();
    this.pwc.reset();
    this.pml.clear();
    this.#useRoot(0);
  }

  /** Forgets all translations. */
  flushTlb(): void {
    const { memory } = this;
    this.tlb.flush();
    this.pwc.flush();
    const word = own(this.area.word(VcpuWord.flushes));
    memory.store32(word, memory.load32(word) + 1);
  }

  /** A root was loaded, or none is (kvm_mmu_load_pgd, and the flush that goes with it in kvm_mmu_load). */
  #useRoot(root: number): void {
    this.walker.root = root;
    this.tlb.setRoot(root);
    this.pwc.setRoot(root);
    this.memory.store32(own(this.area.word(VcpuWord.root)), root);
    if (root === 0) return;
    // Whatever is tagged with the page may be from an earlier root that lived in it.
    if (this.kvm.bugs['kept-stale-tlb-on-root-page-reuse'] !== true) this.flushTlb();
    this.counters[VcpuCounter.tlb_flush_root]++;
  }
}
