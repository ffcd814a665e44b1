/**
 * Allocating page-table pages: from a cache that a vCPU fills before it takes mmu_lock, or one at a time.
 *
 * Under mmu_lock nobody may wait for memory, so a fault tops up its cache first and takes from it later.
 * Kernel: kvm_mmu_topup_memory_cache() and kvm_mmu_memory_cache_alloc() in virt/kvm/kvm_main.c; tdp_mmu_alloc_sp_for_split().
 */
import { Counter } from './counters.ts';
import { InvariantError } from './invariant.ts';
import { checkMaySleep } from './lock-order.ts';
import { changeState, freePage, type PageAllocator, PageState, takePages } from './page-allocator.ts';
import { own, type Task } from './point.ts';
import type { Thread } from './thread.ts';

/** KVM_ARCH_NR_OBJS_PER_MEMORY_CACHE */
export const PAGE_CACHE_CAPACITY = 40;

/** Pages that one thread has in hand. */
export class PageCache {
  /** Pages after a top-up. */
  readonly capacity: number;
  readonly pages: number[] = [];

  constructor(capacity = PAGE_CACHE_CAPACITY) {
    this.capacity = capacity;
  }
}

/**
 * Makes sure that `cache` holds at least `min` pages; where it does not, fills it up. Returns false if memory ran out
 * before there were `min`; what was found stays in the cache. Errors: sleeping-in-atomic.
 */
export function* topupPageCache(cache: PageCache, allocator: PageAllocator, thread: Thread, min: number): Task<boolean> {
  checkMaySleep(thread, 'kvm_mmu_topup_memory_cache');
  if (cache.pages.length >= min) return true;
  thread.counters[Counter.cacheTopups]++;
  yield* takePages(allocator, thread, Math.max(cache.capacity, min) - cache.pages.length, cache.pages);
  if (cache.pages.length >= min) return true;
  thread.counters[Counter.allocationsFailed]++;
  return false;
}

/** A page of the cache, in state cached. Errors: page-cache-empty, because the top-up should have seen to it. */
export function takeFromCache(cache: PageCache): number {
  const page = cache.pages.pop();
  if (page === undefined) throw new InvariantError('page-cache-empty', 'the page cache was not topped up');
  return page;
}

/**
 * Puts `page` back, which was not linked after all: it may be live or cached, and is emptied, for it may have been filled.
 * The cache may exceed its capacity by it.
 */
export function returnToCache(cache: PageCache, allocator: PageAllocator, thread: Thread, page: number): void {
  const { memory } = thread;
  if (allocator.stateOf(memory, page) === PageState.live) changeState(allocator, thread, page, PageState.live, PageState.cached);
  memory.fill64(own(allocator.tableOf(page)), allocator.initial, allocator.entries);
  cache.pages.push(page);
}

/** Frees what is left in `cache`. */
export function* drainPageCache(cache: PageCache, allocator: PageAllocator, thread: Thread): Task<void> {
  for (let page = cache.pages.pop(); page !== undefined; page = cache.pages.pop()) {
    yield* freePage(allocator, thread, page, PageState.cached);
  }
}

/** A page, or 0: without waiting, as under a spinning lock (GFP_NOWAIT). */
export function* tryAllocPage(allocator: PageAllocator, thread: Thread): Task<number> {
  const { environment, counters } = thread;
  const page = environment.failAllocation?.() ? 0 : yield* takeOne(allocator, thread);
  if (page === 0) counters[Counter.allocationsFailed]++;
  return page;
}

/**
 * A page, or 0 if there is none even after all pages that wait for a grace period were freed (GFP_KERNEL).
 * Errors: sleeping-in-atomic.
 */
export function* allocPage(allocator: PageAllocator, thread: Thread): Task<number> {
  checkMaySleep(thread, 'alloc_page');
  let page = yield* takeOne(allocator, thread);
  if (page === 0 && allocator.reclaim !== null) {
    yield* allocator.reclaim(thread);
    page = yield* takeOne(allocator, thread);
  }
  if (page === 0) thread.counters[Counter.allocationsFailed]++;
  return page;
}

function* takeOne(allocator: PageAllocator, thread: Thread): Task<number> {
  const pages: number[] = [];
  yield* takePages(allocator, thread, 1, pages);
  return pages.length > 0 ? pages[0] : 0;
}
