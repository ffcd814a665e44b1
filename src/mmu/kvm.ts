/**
 * The VM as the MMU sees it (kernel: struct kvm and struct kvm_arch, as far as the TDP MMU uses them).
 *
 * `KvmLayout` says where its shared words are; it follows from the configuration alone, so every thread computes the same.
 * `Kvm` is one thread's handle: the same words, plus the thread that uses them.
 */
import type { ArenaLayout } from '../machine/arena.ts';
import { LockNumber } from '../machine/lock-number.ts';
import type { Memory } from '../machine/memory.ts';
import { MUTEX_WORDS, Mutex } from '../machine/mutex.ts';
import { ALLOCATOR_WORDS, PAGE_DESCRIPTOR_WORDS, PageAllocator } from '../machine/page-allocator.ts';
import type { Address } from '../machine/point.ts';
import { RCU_WORDS, Rcu } from '../machine/rcu.ts';
import { RWLOCK_WORDS, RwLock } from '../machine/rwlock.ts';
import { SPINLOCK_WORDS, SpinLock } from '../machine/spinlock.ts';
import { SRCU_WORDS, Srcu } from '../machine/srcu.ts';
import { THREAD_WORDS, type Thread } from '../machine/thread.ts';
import { VCPU_REQUEST_WORDS, VcpuRequests } from '../machine/tlb-shootdown.ts';
import { WORKQUEUE_WORDS, Workqueue } from '../machine/workqueue.ts';
import { type BugSwitches, NO_BUGS } from './bug-switches.ts';
import { DirtyRingLayout } from './dirty-ring-layout.ts';
import { generationFor, type KernelBehaviours, type KernelGeneration, type KernelName } from './generation.ts';
import type { Host } from './host.ts';
import { Geometry, type Level } from './level.ts';
import type { MemslotLookup } from './memslot-lookup.ts';
import type { MmuBackend } from './mmu-backend.ts';
import { MmuPages } from './mmu-page.ts';
import { PARAM_WORDS, Params } from './params.ts';
import { SpteLayout } from './spte.ts';
import { type CpuName, FORMATS } from './spte-format.ts';
import type { MmuTrace } from './trace.ts';

export interface KvmConfig {
  readonly vcpus: number;
  /** Threads that may run the single source: vCPUs, ioctl callers, workers, the coordinator. */
  readonly threads: number;
  readonly kernel: KernelName;
  /** What is to be otherwise than in that kernel. */
  readonly behaviours?: KernelBehaviours;
  readonly cpu: CpuName;
  /** mmu_lock: the reader-writer lock of 5.12 and later, or the spinlock before it. */
  readonly lock: 'rwlock' | 'spinlock';
  /** Entries of a page table: 512, or 4, 8, … for exploration. */
  readonly entries: number;
  /** Levels of a root: 4 or 5. */
  readonly rootLevel: Level;
  /** First gfn beyond the guest-physical address space. */
  readonly maxGfn: number;
  /** Page-table pages that the host has. */
  readonly tablePages: number;
  /** Hardware accessed and dirty bits. */
  readonly adBits: boolean;
  /** Entries of each vCPU's dirty ring, a power of two; absent or 0: dirty pages are logged in bitmaps. */
  readonly dirtyRingEntries?: number;
  /** Page-table pages that a vCPU takes at a time (KVM_ARCH_NR_OBJS_PER_MEMORY_CACHE), where it is not the kernel's 40. */
  readonly pageCache?: number;
  /** A thread of its own zaps invalidated roots, in the kernels that have a worker for it: see zap-worker.ts. */
  readonly zapWorker?: boolean;
}

/** Shared words of struct kvm. What is written together lies together; what different writers fight over, apart. */
export const KvmWord = {
  /** mmu_invalidate_in_progress: writers hold mmu_lock for write. */
  invalidateInProgress: 0,
  /** mmu_invalidate_seq: as above; faults read it without the lock. */
  invalidateSeq: 2,
  /** mmu_invalidate_range_start and _end: low and high halves. */
  invalidateStart: 4,
  invalidateEnd: 6,
  /** mn_active_invalidate_count: under mn_invalidate_lock. */
  mnActive: 16,
  /** mmu_valid_gen. */
  validGen: 18,
  /** nr_memslots_dirty_logging. */
  dirtyLogging: 20,
  /** Head of the RCU list of roots; written under tdp_mmu_pages_lock. */
  roots: 32,
  /** Head of the list of possible NX huge pages; under tdp_mmu_pages_lock. */
  nxPages: 34,
  nxPagesTail: 36,
  /** How many gfns are write-tracked: under mmu_lock held for write; faults look without it. */
  trackedGfns: 38,
  /** What a flush by range asks for: first gfn and end, low and high halves. */
  flushStart: 40,
  flushEnd: 42,
  /** Atomic counters: see vm-stat.ts. */
  stats: 48,
} as const;

export const KVM_WORDS = 64;

/** How many gfns can be write-tracked at a time. */
export const TRACKED_GFNS = 16;

export class KvmLayout {
  readonly words: Address;
  readonly params: Address;
  readonly mmuLock: Address;
  readonly pagesLock: Address;
  readonly invalidateLock: Address;
  readonly slotsLock: Address;
  readonly slotsArchLock: Address;
  readonly rcu: Address;
  readonly srcu: Address;
  readonly zapQueue: Address;
  /** Write-tracked gfns: see page-track.ts. */
  readonly pageTrack: Address;
  readonly threads: Address;
  readonly requests: Address;
  /** The vCPUs' dirty rings, or null where bitmaps are used. */
  readonly dirtyRings: DirtyRingLayout | null;
  readonly allocatorState: Address;
  readonly descriptors: Address;
  readonly tables: Address;

  constructor(arena: ArenaLayout, config: KvmConfig) {
    this.words = arena.reserve('kvm', KVM_WORDS);
    this.params = arena.reserve('params', PARAM_WORDS);
    this.mmuLock = arena.reserve('mmu_lock', Math.max(RWLOCK_WORDS, SPINLOCK_WORDS));
    this.pagesLock = arena.reserve('tdp_mmu_pages_lock', SPINLOCK_WORDS);
    this.invalidateLock = arena.reserve('mn_invalidate_lock', SPINLOCK_WORDS);
    this.slotsLock = arena.reserve('slots_lock', MUTEX_WORDS);
    this.slotsArchLock = arena.reserve('slots_arch_lock', MUTEX_WORDS);
    this.rcu = arena.reserve('rcu', RCU_WORDS);
    this.srcu = arena.reserve('srcu', SRCU_WORDS);
    this.zapQueue = arena.reserve('tdp_mmu_zap_wq', WORKQUEUE_WORDS);
    this.pageTrack = arena.reserve('page track', 2 * TRACKED_GFNS);
    this.threads = arena.reserve('threads', THREAD_WORDS * config.threads);
    this.requests = arena.reserve('vcpu requests', VCPU_REQUEST_WORDS * config.vcpus);
    const { dirtyRingEntries = 0 } = config;
    this.dirtyRings = dirtyRingEntries > 0 ? new DirtyRingLayout(arena, config.vcpus, dirtyRingEntries) : null;
    this.allocatorState = arena.reserve('page allocator', ALLOCATOR_WORDS);
    this.descriptors = arena.reserve('page descriptors', PAGE_DESCRIPTOR_WORDS * config.tablePages);
    this.tables = arena.reserve('page tables', 2 * config.entries * config.tablePages);
  }

  threadBlock(id: number): Address {
    return (this.threads + THREAD_WORDS * id) as Address;
  }
}

/** What a thread's handle on the VM is made from. */
export interface KvmOptions {
  readonly config: KvmConfig;
  readonly layout: KvmLayout;
  readonly thread: Thread;
  readonly host: Host;
  readonly slots: MemslotLookup;
  /** The MMU that takes the TDP MMU's place, if any. */
  readonly backend?: MmuBackend | null;
  readonly trace?: MmuTrace | null;
  readonly bugs?: BugSwitches;
}

export class Kvm {
  readonly config: KvmConfig;
  readonly layout: KvmLayout;
  readonly thread: Thread;
  readonly memory: Memory;
  readonly generation: KernelGeneration;
  readonly geometry: Geometry;
  readonly spte: SpteLayout;
  readonly params: Params;
  readonly pages: MmuPages;
  readonly allocator: PageAllocator;
  readonly host: Host;
  readonly slots: MemslotLookup;
  readonly trace: MmuTrace | null;
  readonly backend: MmuBackend | null;
  readonly bugs: BugSwitches;
  readonly counters: Float64Array;

  readonly mmuRwLock: RwLock;
  readonly mmuSpinLock: SpinLock;
  /** tdp_mmu_pages_lock */
  readonly pagesLock: SpinLock;
  /** mn_invalidate_lock */
  readonly invalidateLock: SpinLock;
  readonly slotsLock: Mutex;
  readonly slotsArchLock: Mutex;
  readonly rcu: Rcu;
  readonly srcu: Srcu;
  readonly requests: VcpuRequests;
  readonly zapQueue: Workqueue;
  /** The vCPU that this thread runs, -1 for none (kvm_get_running_vcpu). */
  runningVcpu = -1;

  constructor(options: KvmOptions) {
    const { config, layout, thread } = options;
    this.config = config;
    this.layout = layout;
    this.thread = thread;
    this.memory = thread.memory;
    this.counters = thread.counters;
    this.host = options.host;
    this.slots = options.slots;
    this.trace = options.trace ?? null;
    this.backend = options.backend ?? null;
    this.bugs = options.bugs ?? NO_BUGS;
    this.generation = generationFor(config.kernel, config.behaviours);
    this.geometry = new Geometry(config);
    this.params = new Params(this.memory, layout.params);
    const { params } = this;
    this.spte = new SpteLayout(FORMATS[config.cpu], this.generation, {
      adBits: config.adBits,
      get nxHugePages() {
        return params.nxHugePages;
      },
    });
    this.allocator = new PageAllocator({
      tables: layout.tables,
      descriptors: layout.descriptors,
      state: layout.allocatorState,
      pages: config.tablePages,
      entries: config.entries,
      initial: this.spte.nonpresent,
    });
    this.pages = new MmuPages(this.memory, this.allocator);
    this.mmuRwLock = new RwLock(layout.mmuLock, LockNumber.mmuLock);
    this.mmuSpinLock = new SpinLock(layout.mmuLock, LockNumber.mmuLock);
    this.pagesLock = new SpinLock(layout.pagesLock, LockNumber.pagesLock);
    this.invalidateLock = new SpinLock(layout.invalidateLock, LockNumber.invalidateLock);
    this.slotsLock = new Mutex(layout.slotsLock, LockNumber.slotsLock);
    this.slotsArchLock = new Mutex(layout.slotsArchLock, LockNumber.slotsArchLock);
    this.rcu = new Rcu({ base: layout.rcu, threads: layout.threads, threadCount: config.threads, allocator: this.allocator });
    this.srcu = new Srcu({ base: layout.srcu, threads: layout.threads, threadCount: config.threads });
    this.requests = new VcpuRequests(layout.requests, config.vcpus);
    this.zapQueue = new Workqueue(layout.zapQueue);
  }

  /** Address of a word of {@link KvmWord}. */
  word(index: number): Address {
    return (this.layout.words + index) as Address;
  }
}
