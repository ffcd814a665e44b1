/**
 * Page-table pages: a table of SPTEs and a descriptor each, handed out, freed, and handed out again.
 *
 * Freed pages are filled with poison and reused last in, first out, so that who still uses one gets hurt soon. Every
 * change of a page's state is an exchange that names the state before, so a page freed twice is an error at the second
 * free even when two threads free it at the same time. Kernel: alloc_page() and struct page, as far as the MMU uses them.
 *
 * One spinlock guards the list of free pages and the mark up to which pages are in use for the first time; filling a page
 * happens outside it, by the one thread that has the page.
 */
import { Cost } from './cost.ts';
import { Counter } from './counters.ts';
import { InvariantError } from './invariant.ts';
import { LockNumber } from './lock-number.ts';
import type { Memory } from './memory.ts';
import { type Address, own, spend, type Task } from './point.ts';
import { MachineSite } from './site.ts';
import { SPINLOCK_WORDS, SpinLock, spinLock, spinUnlock } from './spinlock.ts';
import type { Thread } from './thread.ts';
import { Word64 } from './word64.ts';

/** Words of a page's descriptor: a cache line. Words 0 to 3 are the allocator's, 4 to 15 the MMU's (struct kvm_mmu_page). */
export const PAGE_DESCRIPTOR_WORDS = 16;

/** The allocator's words of a descriptor. */
export const PageWord = {
  /** A {@link PageState}. */
  state: 0,
  /** The next page of the list that the page is on, or 0. */
  next: 1,
  /** The thread that changed the state last, plus 1. */
  owner: 2,
} as const;

/** Where the MMU's words of a descriptor begin. */
const FIRST_MMU_WORD = 4;

export const PageState = {
  /** Never used, or on the free list. */
  free: 0,
  /** Allocated, not linked: in a cache, or in the hands of one thread. */
  cached: 1,
  /** Part of a page table, or about to be: others may find it. */
  live: 2,
  /** Unlinked; readers may still look at it until a grace period is over. */
  rcu: 3,
} as const;

export type PageState = (typeof PageState)[keyof typeof PageState];

const stateNames = ['free', 'cached', 'live', 'rcu'];

/** Words of the allocator's own state. */
export const ALLOCATOR_WORDS = SPINLOCK_WORDS + 16;

/** What freed tables are filled with: readable, present to every format, and pointing nowhere. */
export const POISON = new Word64(0x6b6b_6b6b, 0x6b6b_6b6b);

export interface PageAllocatorOptions {
  /** The tables, page after page; even. */
  readonly tables: Address;
  /** The descriptors, page after page. */
  readonly descriptors: Address;
  /** First of {@link ALLOCATOR_WORDS} words, all 0 at the start. */
  readonly state: Address;
  /** Number of pages, page 0 included, which is never handed out. */
  readonly pages: number;
  /** SPTEs of a table. */
  readonly entries: number;
  /** What fresh tables are filled with (SHADOW_NONPRESENT_VALUE). */
  readonly initial: Word64;
  readonly poison?: Word64;
}

export class PageAllocator {
  readonly tables: Address;
  readonly descriptors: Address;
  readonly pages: number;
  readonly entries: number;
  readonly initial: Word64;
  readonly poison: Word64;
  readonly lock: SpinLock;
  /** First page of the free list, or 0. Under the lock, as are the next two. */
  readonly freeHead: Address;
  /** The highest page that was ever handed out. */
  readonly watermark: Address;
  /** Pages that are not free. */
  readonly used: Address;
  /** Waits until all pages that were queued to be freed are free: set by `Rcu`, for allocations that may wait. */
  reclaim: ((thread: Thread) => Task<void>) | null = null;
  readonly #tableWords: number;

  constructor(options: PageAllocatorOptions) {
    this.tables = options.tables;
    this.descriptors = options.descriptors;
    this.pages = options.pages;
    this.entries = options.entries;
    this.initial = options.initial;
    this.poison = options.poison ?? POISON;
    this.lock = new SpinLock(options.state, LockNumber.allocator);
    this.freeHead = (options.state + SPINLOCK_WORDS) as Address;
    this.watermark = (options.state + SPINLOCK_WORDS + 1) as Address;
    this.used = (options.state + SPINLOCK_WORDS + 2) as Address;
    this.#tableWords = 2 * options.entries;
  }

  /** Address of the first SPTE of `page`. */
  tableOf(page: number): Address {
    return (this.tables + page * this.#tableWords) as Address;
  }

  descriptorOf(page: number): Address {
    return (this.descriptors + page * PAGE_DESCRIPTOR_WORDS) as Address;
  }

  /** Address of a word of the descriptor of `page`. */
  word(page: number, index: number): Address {
    return (this.descriptors + page * PAGE_DESCRIPTOR_WORDS + index) as Address;
  }

  /** The page whose table holds the word at `a`; 0 or less, or not below `pages`, where none does. */
  pageOfTable(a: Address): number {
    return Math.floor((a - this.tables) / this.#tableWords);
  }

  /** The state of `page` as it stands, for checks and reports. */
  stateOf(memory: Memory, page: number): PageState {
    return memory.load32(own(this.word(page, PageWord.state))) as PageState;
  }

  /** How many pages are not free, for checks and reports. */
  usedPages(memory: Memory): number {
    return memory.load32(own(this.used));
  }
}

/**
 * Moves `page` from state `from` to state `to`. An error, not a race: the caller is the only one who may do this.
 * Errors: double-free, where it is free or waits to be; page-state otherwise.
 */
export function changeState(allocator: PageAllocator, thread: Thread, page: number, from: PageState, to: PageState): void {
  if (page <= 0 || page >= allocator.pages) {
    throw new InvariantError('page-state', `${thread.name}: there is no page-table page ${page}`);
  }
  const { memory } = thread;
  const seen = memory.cmpxchg32(own(allocator.word(page, PageWord.state)), from, to);
  if (seen !== from) {
    const owner = memory.load32(own(allocator.word(page, PageWord.owner))) - 1;
    const freeing = to === PageState.free || to === PageState.rcu;
    const rule = freeing && (seen === PageState.free || seen === PageState.rcu) ? 'double-free' : 'page-state';
    throw new InvariantError(
      rule,
      `${thread.name}: page ${page} goes from ${stateNames[from]} to ${stateNames[to]}, but is ${stateNames[seen] ?? seen} since thread ${owner}`,
    );
  }
  memory.store32(own(allocator.word(page, PageWord.owner)), thread.id + 1);
}

/** Declares that the MMU is about to link `page`, a cached page: from now on others may find it. */
export function markLive(allocator: PageAllocator, thread: Thread, page: number): void {
  changeState(allocator, thread, page, PageState.cached, PageState.live);
}

/** Declares that `page`, which is live, was not linked after all, so nobody can have found it. */
export function markUnlinked(allocator: PageAllocator, thread: Thread, page: number): void {
  changeState(allocator, thread, page, PageState.live, PageState.cached);
}

/**
 * Takes up to `wanted` pages, appends them to `into`, empty tables with cleared MMU words and in state cached, and returns
 * how many it got: fewer only if there are no more.
 */
export function* takePages(allocator: PageAllocator, thread: Thread, wanted: number, into: number[]): Task<number> {
  const { memory, counters } = thread;
  const first = into.length;
  let reused = 0;
  yield* spinLock(allocator.lock, thread, MachineSite.get_page_from_freelist);
  let head = memory.load32(own(allocator.freeHead));
  let watermark = memory.load32(own(allocator.watermark));
  for (; reused < wanted && head !== 0; reused++) {
    into.push(head);
    head = memory.load32(own(allocator.word(head, PageWord.next)));
  }
  for (let fresh = wanted - reused; fresh > 0 && watermark + 1 < allocator.pages; fresh--) into.push(++watermark);
  const taken = into.length - first;
  memory.store32(own(allocator.freeHead), head);
  memory.store32(own(allocator.watermark), watermark);
  memory.store32(own(allocator.used), memory.load32(own(allocator.used)) + taken);
  yield* spinUnlock(allocator.lock, thread);

  for (let i = first; i < into.length; i++) {
    const page = into[i];
    changeState(allocator, thread, page, PageState.free, PageState.cached);
    memory.store32(own(allocator.word(page, PageWord.next)), 0);
    memory.fill32(own(allocator.word(page, FIRST_MMU_WORD)), 0, PAGE_DESCRIPTOR_WORDS - FIRST_MMU_WORD);
    memory.fill64(own(allocator.tableOf(page)), allocator.initial, allocator.entries);
    if (thread.probe !== null) thread.probe.pageAllocated(page, i - first >= reused);
  }
  counters[Counter.pagesAllocated] += taken;
  counters[Counter.pagesReused] += reused;
  yield spend(Cost.tableAlloc, taken);
  return taken;
}

/** Frees `page`, which is in state `from`. Errors: double-free, page-state. */
export function* freePage(allocator: PageAllocator, thread: Thread, page: number, from: PageState): Task<void> {
  thread.memory.store32(own(allocator.word(page, PageWord.next)), 0);
  yield* freeChain(allocator, thread, page, from);
}

/** Frees the pages from `first` on, linked through their descriptors and all in state `from`; returns how many. */
export function* freeChain(allocator: PageAllocator, thread: Thread, first: number, from: PageState): Task<number> {
  const { memory } = thread;
  let freed = 0;
  let last = first;
  for (let page = first; page !== 0; page = memory.load32(own(allocator.word(page, PageWord.next)))) {
    changeState(allocator, thread, page, from, PageState.free);
    memory.fill64(own(allocator.tableOf(page)), allocator.poison, allocator.entries);
    if (thread.probe !== null) thread.probe.pageFreed(page);
    last = page;
    freed++;
  }
  yield spend(Cost.tableFree, freed);
  yield* spinLock(allocator.lock, thread, MachineSite.free_one_page);
  memory.store32(own(allocator.word(last, PageWord.next)), memory.load32(own(allocator.freeHead)));
  memory.store32(own(allocator.freeHead), first);
  memory.store32(own(allocator.used), memory.load32(own(allocator.used)) - freed);
  yield* spinUnlock(allocator.lock, thread);
  thread.counters[Counter.pagesFreed] += freed;
  return freed;
}
