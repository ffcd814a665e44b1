/** Where everything that a VM shares lies in the arena: arithmetic on its configuration. */
import { ArenaLayout, LINE_WORDS } from '../machine/arena.ts';
import { MUTEX_WORDS } from '../machine/mutex.ts';
import type { Address } from '../machine/point.ts';
import { SPINLOCK_WORDS } from '../machine/spinlock.ts';
import { KvmLayout } from '../mmu/kvm.ts';
import { ShadowLayout } from '../shadow/shadow-layout.ts';
import { FrameLayout } from './frames.ts';
import { HEAP_HEAD_WORDS, heapBlockWords } from './heap.ts';
import { HOST_MM_WORDS } from './host-mm.ts';
import { RMAP_LEVELS, rmapArrayWords, rmapHeadsAtMost } from './slot-rmaps.ts';
import { vcpuAreaWords } from './vcpu-layout.ts';
import { spanOf, type VmConfig } from './vm-config.ts';

/** Address spaces of a VM: normal and SMM (KVM_MAX_NR_ADDRESS_SPACES). */
export const ADDRESS_SPACES = 2;

/** Words of a memslot in a set: see `memslot-sets.ts`. */
export const MEMSLOT_WORDS = 16;

/** Words of the VM that are not the MMU's. */
export const VmWord = {
  /** Pages in all memslots (nr_memslot_pages): low and high half; under slots_lock. */
  memslotPages: 0,
} as const;

/** The host's page table of one region. */
export interface HostTableLayout {
  /** Pages that one directory entry maps: 2M, or 1G. */
  readonly span: number;
  readonly entries: number;
  /** First directory entry, a word each. */
  readonly directory: Address;
  /** For each directory entry the table that a huge page keeps for when it is split (a word each), or 0 for hugetlbfs. */
  readonly deposits: Address;
}

export class VmLayout {
  readonly config: VmConfig;
  readonly arena = new ArenaLayout();
  readonly kvm: KvmLayout;
  /** What the rmap-based MMU shares, or null: the VM has the TDP MMU. */
  readonly shadow: ShadowLayout | null;
  readonly words: Address;
  /** For each address space: the word that says which set is active, on a line of its own. */
  readonly activeSets: Address;
  /** For each address space two sets: a line of head, then the slots. */
  readonly memslotSets: Address;
  readonly hostTableLocks: Address;
  readonly mmapLock: Address;
  /** See `host-mm.ts`. */
  readonly mm: Address;
  readonly hostTables: readonly HostTableLayout[];
  readonly heap: Address;
  readonly heapWords: number;
  readonly vcpuAreas: Address;
  readonly vcpuAreaWords: number;
  readonly frames: FrameLayout;
  /** Version of the first frame; 0 where contents are not tracked. */
  readonly contents: Address;

  constructor(config: VmConfig) {
    const { arena } = this;
    this.config = config;
    this.kvm = new KvmLayout(arena, config);
    this.shadow = config.mmu === 'shadow' ? new ShadowLayout(arena, rmapDescriptors(config), config.mmuPageHashBuckets) : null;
    this.words = arena.reserve('vm', LINE_WORDS);
    this.activeSets = arena.reserve('active memslots', LINE_WORDS * ADDRESS_SPACES);
    this.memslotSets = arena.reserve('memslots', ADDRESS_SPACES * 2 * this.memslotSetWords);
    this.hostTableLocks = arena.reserve('host page-table locks', SPINLOCK_WORDS * config.hostPageTableLocks);
    this.mmapLock = arena.reserve('mmap_lock', MUTEX_WORDS);
    this.mm = arena.reserve('mm_struct', config.memory.some(({ userfaultfd }) => userfaultfd) ? HOST_MM_WORDS : 0);
    this.hostTables = config.memory.map(({ name, type, pages }) => {
      const span = spanOf(config, type);
      const entries = Math.ceil(pages / span);
      const directory = arena.reserve(`host page directory of ${name}`, entries);
      const anonymous = type === '4k' || type === 'thp';
      const deposits = anonymous ? arena.reserve(`spare host page tables of ${name}`, entries) : (0 as Address);
      return { span, entries, directory, deposits };
    });
    this.vcpuAreaWords = vcpuAreaWords(config);
    this.vcpuAreas = arena.reserve('vcpus', this.vcpuAreaWords * config.vcpus);
    this.heapWords = config.heapWords ?? this.#heapWordsFor(config);
    this.heap = arena.reserve('heap', HEAP_HEAD_WORDS + this.heapWords);
    this.frames = new FrameLayout(config);
    this.contents = config.trackContents ? arena.reserve('contents of frames', this.frames.count) : (0 as Address);
  }

  /** 32-bit words of the whole arena. */
  get arenaWords(): number {
    return this.arena.words;
  }

  get memslotSetWords(): number {
    return LINE_WORDS + MEMSLOT_WORDS * this.config.maxMemslots;
  }

  vcpuArea(vcpu: number): Address {
    return (this.vcpuAreas + vcpu * this.vcpuAreaWords) as Address;
  }

  /** Twice the dirty bitmaps and reverse maps of all memory, and a full set of host page tables for anonymous memory. */
  #heapWordsFor(config: VmConfig): number {
    let words = 64 * LINE_WORDS;
    config.memory.forEach(({ type, pages }, i) => {
      words += 2 * heapBlockWords(4 * Math.ceil(pages / 64));
      if (config.mmu === 'shadow') {
        for (const level of RMAP_LEVELS) words += 2 * heapBlockWords(rmapArrayWords(rmapHeadsAtMost(config, pages, level)));
      }
      const { span, entries } = this.hostTables[i];
      if (type === '4k' || type === 'thp') words += entries * heapBlockWords(span);
    });
    return words;
  }
}

/** No more than there can be SPTEs, of which a descriptor holds at least one. */
function rmapDescriptors(config: VmConfig): number {
  if (config.rmapDescriptors !== null) return config.rmapDescriptors;
  let heads = config.tablePages;
  for (const { pages } of config.memory) {
    for (const level of RMAP_LEVELS) heads += rmapHeadsAtMost(config, pages, level);
  }
  return Math.min(2 * heads, config.entries * config.tablePages);
}
