/**
 * The address space of the host process that runs the VM: its regions and their page tables.
 *
 * A region's page table has two levels: a directory with an entry for each 2M (or 1G, for hugetlbfs of that size), and
 * tables of 4K entries where the pages of one range differ. Tables come from the heap when they are needed, so a region of
 * terabytes costs what its directory does. They are never given back while the VM lives: a collapsed range keeps its table
 * for the next split, as the kernel deposits it, and readers without a lock may still look at it.
 *
 * Readers take no lock and read each level once (kernel: mm/gup.c, the fast path; host_pfn_mapping_level). Writers hold one
 * of the page-table spinlocks, over which the directory entries are spread (kernel: the split PTE and PMD locks).
 */
import { InvariantError } from '../machine/invariant.ts';
import { LockNumber } from '../machine/lock-number.ts';
import type { Memory } from '../machine/memory.ts';
import { Mutex } from '../machine/mutex.ts';
import { type Address, own, read, type Task, write } from '../machine/point.ts';
import { SPINLOCK_WORDS, SpinLock, spinLock, spinUnlock } from '../machine/spinlock.ts';
import type { Thread } from '../machine/thread.ts';
import { type Level, type Pfn, PG_LEVEL_1G, PG_LEVEL_2M } from '../mmu/level.ts';
import { Site } from '../mmu/site.ts';
import { Frames } from './frames.ts';
import { Heap, heapAlloc } from './heap.ts';
import { asTable, generationOf, HostPte, isTable, makePte, vmaFlags } from './host-pte.ts';
import type { Backing, MemoryRegionConfig } from './vm-config.ts';
import type { HostTableLayout, VmLayout } from './vm-layout.ts';

/** A region of the host process, as memslots refer to it. */
export class HostRegion {
  readonly index: number;
  readonly name: string;
  readonly type: Backing;
  readonly pages: number;
  readonly userfaultfd: boolean;
  /** hugetlbfs: its pages are huge from the first touch, and cannot be split. */
  readonly hugetlb: boolean;
  /** Level of its huge pages. */
  readonly hugeLevel: Level;
  /** Pages that a directory entry maps; a power of two. */
  readonly span: number;
  /** log2 of it, and the bits of a page number below it: pages are fewer than 2^32. */
  readonly shift: number;
  readonly mask: number;
  readonly layout: HostTableLayout;

  constructor(index: number, config: MemoryRegionConfig, layout: HostTableLayout) {
    this.index = index;
    this.name = config.name;
    this.type = config.type;
    this.pages = config.pages;
    this.userfaultfd = config.userfaultfd ?? false;
    this.hugetlb = config.type === '2m' || config.type === '1g';
    this.hugeLevel = config.type === '1g' ? PG_LEVEL_1G : PG_LEVEL_2M;
    this.span = layout.span;
    this.shift = Math.log2(layout.span);
    this.mask = layout.span - 1;
    this.layout = layout;
  }

  /** Index of the directory entry for `page`. */
  entryOf(page: number): number {
    return page >>> this.shift;
  }

  directoryWord(entry: number): Address {
    return (this.layout.directory + entry) as Address;
  }

  /** Where directory entry `entry` keeps the table for its next split. */
  depositWord(entry: number): Address {
    return (this.layout.deposits + entry) as Address;
  }

  /** Whether the whole range of directory entry `entry` belongs to the region. */
  holdsWhole(entry: number): boolean {
    return (entry + 1) * this.span <= this.pages;
  }
}

export class HostSpace {
  readonly memory: Memory;
  readonly regions: readonly HostRegion[];
  readonly frames: Frames;
  readonly heap: Heap;
  /** mmap_lock, taken to change VMAs. */
  readonly mmapLock: Mutex;
  /** What userfaultfd updates for each page: see `host-mm.ts`. */
  readonly mm: Address;
  readonly #locks: readonly SpinLock[];

  constructor(memory: Memory, layout: VmLayout) {
    const { config } = layout;
    this.memory = memory;
    this.regions = config.memory.map((region, i) => new HostRegion(i, region, layout.hostTables[i]));
    this.frames = new Frames(memory, layout.frames, layout.contents);
    this.heap = new Heap(memory, layout.heap, layout.heapWords);
    this.mmapLock = new Mutex(layout.mmapLock, LockNumber.hostMmap);
    this.mm = layout.mm;
    this.#locks = Array.from(
      { length: config.hostPageTableLocks },
      (_, i) => new SpinLock((layout.hostTableLocks + SPINLOCK_WORDS * i) as Address, LockNumber.hostPageTable),
    );
  }

  /** The region of that name. Errors: RangeError. */
  region(name: string): HostRegion {
    const region = this.regions.find((r) => r.name === name);
    if (region === undefined) throw new RangeError(`the VM has no memory named ${name}`);
    return region;
  }

  lockOf(region: HostRegion, entry: number): SpinLock {
    return this.#locks[(entry + 7 * region.index) % this.#locks.length];
  }

  /** The frame that entry `pte` maps for `page`. */
  pfn(region: HostRegion, page: number, pte: number): Pfn {
    return this.frames.layout.pfn(region.index, page, pte, page & region.mask);
  }
}

/** The entry for `page`: each level is read once, without a lock. */
export function* readHostPte(space: HostSpace, region: HostRegion, page: number): Task<number> {
  const word = space.memory.load32(yield read(region.directoryWord(page >>> region.shift)));
  if (!isTable(word)) return word;
  return space.memory.load32(yield read((asTable(word) + (page & region.mask)) as Address));
}

/** Locks the range of directory entry `entry`. */
export function* lockHostRange(space: HostSpace, thread: Thread, region: HostRegion, entry: number): Task<void> {
  yield* spinLock(space.lockOf(region, entry), thread, Site.host_page_table);
}

export function* unlockHostRange(space: HostSpace, thread: Thread, region: HostRegion, entry: number): Task<void> {
  yield* spinUnlock(space.lockOf(region, entry), thread);
}

/** The directory entry as it stands; its range is locked, so it stays. */
export function lockedEntry(space: HostSpace, region: HostRegion, entry: number): number {
  return space.memory.load32(own(region.directoryWord(entry)));
}

/** The entry for `page`; its range is locked. */
export function lockedPte(space: HostSpace, region: HostRegion, page: number): number {
  const word = lockedEntry(space, region, region.entryOf(page));
  return isTable(word) ? space.memory.load32(own((asTable(word) + (page & region.mask)) as Address)) : word;
}

export function* setEntry(space: HostSpace, region: HostRegion, entry: number, value: number): Task<void> {
  space.memory.store32(yield write(region.directoryWord(entry)), value);
}

/** Gives `page` an entry of its own, in a table that is made where there is none; its range is locked. */
export function* setPte(space: HostSpace, thread: Thread, region: HostRegion, page: number, pte: number): Task<void> {
  const table = yield* tableFor(space, thread, region, region.entryOf(page));
  space.memory.store32(yield write((table + (page & region.mask)) as Address), pte);
}

/**
 * The table of directory entry `entry`, whose range is locked. Where there is none, one is filled with what the entry says
 * of all pages and put in its place: a huge page is split by this (__split_huge_pmd).
 */
export function* tableFor(space: HostSpace, thread: Thread, region: HostRegion, entry: number): Task<Address> {
  const { memory } = space;
  const old = lockedEntry(space, region, entry);
  if (isTable(old)) return asTable(old);
  const deposit = region.depositWord(entry);
  let table = memory.load32(own(deposit)) as Address;
  if (table === 0) table = yield* heapAlloc(space.heap, thread, region.span);
  else memory.store32(own(deposit), 0);
  if (table === 0) {
    throw new InvariantError('heap-exhausted', `no room for a host page table of ${region.name}: heapWords is too small`);
  }
  memory.fill32(own(table), old & ~HostPte.huge, region.span);
  yield* setEntry(space, region, entry, table);
  return table;
}

/** Puts one entry in the place of the table of `entry`, whose range is locked, and keeps the table for the next split. */
export function* replaceTable(space: HostSpace, region: HostRegion, entry: number, pte: number): Task<void> {
  const old = lockedEntry(space, region, entry);
  if (isTable(old)) space.memory.store32(own(region.depositWord(entry)), old);
  yield* setEntry(space, region, entry, pte);
}

/** The pages of [first, end) that lie in the range of `entry`. */
export function clampToEntry(region: HostRegion, entry: number, first: number, end: number): { first: number; end: number } {
  const base = entry * region.span;
  return { first: Math.max(first, base), end: Math.min(end, base + region.span, region.pages) };
}

/**
 * The entry that maps all of a table's pages in one: the newest generation of any of them, which is new to all but those
 * that have it already. Of pages without a generation in common one may so stay in the frame where it is.
 */
export function nextHugePte(space: HostSpace, region: HostRegion, entry: number): number {
  const { first, end } = clampToEntry(region, entry, 0, region.pages);
  let newest = 0;
  for (let page = first; page < end; page++) newest = Math.max(newest, generationOf(lockedPte(space, region, page)));
  const flags = vmaFlags(lockedPte(space, region, first));
  return makePte(flags | HostPte.present | HostPte.huge, newest + 1);
}
