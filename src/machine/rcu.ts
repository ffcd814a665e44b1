/**
 * RCU: readers that walk page tables without holding them, and page-table pages that wait until those readers are gone.
 *
 * Each thread has one word, odd while it is inside a read-side section and different at each entry and exit. A grace
 * period looks at every word once and waits for those that were odd to change: a reader that enters later has entered
 * after the page was unlinked and cannot find it. So readers share nothing with each other, and grace periods need no
 * state of their own. Kernel: kernel/rcu/tree.c in what it promises; callbacks are the one kind that the TDP MMU has,
 * "free this page-table page" (tdp_mmu_free_sp_rcu_callback), kept in a list through the pages' descriptors.
 *
 * Order: the entry is an exchange, which on x86 keeps the loads of the section behind it; the grace period begins with a
 * barrier, which puts the unlinking stores before its looks. Of "reader enters, then loads the link" and "updater clears
 * the link, then looks at the reader", one must therefore see the other. The exit is a plain store: it may be seen late,
 * which only prolongs the wait.
 */
import { Counter } from './counters.ts';
import { InvariantError } from './invariant.ts';
import { checkMaySleep } from './lock-order.ts';
import { changeState, freeChain, type PageAllocator, PageState, PageWord } from './page-allocator.ts';
import { type Address, fence, own, read, relax, rmw, type Task, wake, write } from './point.ts';
import { THREAD_WORDS, type Thread, ThreadWord } from './thread.ts';
import { untilChanged } from './whole-steps.ts';

export const RCU_WORDS = 16;

export interface RcuOptions {
  /** First of {@link RCU_WORDS} words, all 0 at the start. */
  readonly base: Address;
  /** The first of the threads' blocks, which lie one after the other. */
  readonly threads: Address;
  readonly threadCount: number;
  /** The allocator whose pages are queued. */
  readonly allocator: PageAllocator;
}

export class Rcu {
  readonly threads: Address;
  readonly threadCount: number;
  readonly allocator: PageAllocator;
  /** The page queued last, or 0: pushed by cmpxchg, taken as a whole by xchg. */
  readonly head: Address;
  /** How many threads have taken pages, or are about to, that they have not freed yet. */
  readonly processing: Address;

  constructor(options: RcuOptions) {
    this.threads = options.threads;
    this.threadCount = options.threadCount;
    this.allocator = options.allocator;
    this.head = options.base;
    this.processing = (options.base + 1) as Address;
    this.allocator.reclaim = (thread) => rcuBarrier(this, this.allocator, thread);
  }

  /** The word of thread number `id`. */
  readerWord(id: number): Address {
    return (this.threads + THREAD_WORDS * id + ThreadWord.rcu) as Address;
  }
}

/** Enters a read-side section (`rcu_read_lock()`). Sections nest; only the outermost touches the arena. */
export function* rcuReadLock(_rcu: Rcu, thread: Thread): Task<void> {
  if (thread.rcuNesting++ > 0) return;
  thread.memory.xchg32(yield rmw(thread.word(ThreadWord.rcu)), ++thread.rcuSequence);
  if (thread.probe !== null) thread.probe.rcuReadLock();
}

/** Leaves a read-side section. Errors: unlock-not-held. */
export function* rcuReadUnlock(_rcu: Rcu, thread: Thread): Task<void> {
  if (thread.rcuNesting === 0) {
    throw new InvariantError('unlock-not-held', `${thread.name} leaves an RCU read-side section that it is not in`);
  }
  if (--thread.rcuNesting > 0) return;
  if (thread.probe !== null) thread.probe.rcuReadUnlock();
  thread.memory.store32(yield write(thread.word(ThreadWord.rcu)), ++thread.rcuSequence);
}

/** `rcu_read_lock_held()`, as an assertion. Errors: rcu-not-held. */
export function assertRcuHeld(thread: Thread): void {
  if (thread.rcuNesting === 0) throw new InvariantError('rcu-not-held', `${thread.name} is in no RCU read-side section`);
}

/** Waits until every read-side section that had begun before the call has ended. Errors: sleeping-in-atomic. */
export function* synchronizeRcu(rcu: Rcu, thread: Thread): Task<void> {
  checkMaySleep(thread, 'synchronize_rcu');
  const { memory, probe, whole } = thread;
  const begin = probe === null ? 0 : thread.now();
  yield fence();
  for (let id = 0; id < rcu.threadCount; id++) {
    if (id === thread.id) continue;
    const word = rcu.readerWord(id);
    if (whole !== null) {
      yield whole.untilClear(word, 1);
      continue;
    }
    const seen = memory.load32(yield read(word));
    if ((seen & 1) === 0) continue;
    while (memory.load32(yield read(word)) === seen) yield relax(word);
  }
  thread.counters[Counter.rcuGracePeriods]++;
  if (probe !== null) probe.rcuGracePeriod(thread.now() - begin);
}

/**
 * Queues the live page-table page `page`, which nobody can find any more, to be freed after a grace period. Never waits.
 * Errors: double-free, page-state.
 */
export function* callRcu(rcu: Rcu, thread: Thread, page: number): Task<void> {
  const { memory } = thread;
  changeState(rcu.allocator, thread, page, PageState.live, PageState.rcu);
  const link = rcu.allocator.word(page, PageWord.next);
  let head = memory.load32(yield read(rcu.head));
  for (;;) {
    // Readers of the page look at its table and header, never at its link.
    memory.store32(own(link), head);
    const seen = memory.cmpxchg32(yield rmw(rcu.head), head, page);
    if (seen === head) break;
    head = seen;
  }
  thread.counters[Counter.rcuPagesQueued]++;
}

/** Whether pages wait for a grace period. */
export function* rcuHasCallbacks(rcu: Rcu, thread: Thread): Task<boolean> {
  return thread.memory.load32(yield read(rcu.head)) !== 0;
}

/**
 * Takes all pages that wait, waits for a grace period, and gives them back to `allocator`.
 * Returns how many there were. Errors: sleeping-in-atomic.
 */
export function* rcuProcessCallbacks(rcu: Rcu, allocator: PageAllocator, thread: Thread): Task<number> {
  checkMaySleep(thread, 'rcu_do_batch');
  const { memory } = thread;
  if (memory.load32(yield read(rcu.head)) === 0) return 0;
  // Before the pages are taken: who finds the list empty must find us counted.
  memory.add32(yield rmw(rcu.processing), 1);
  const first = memory.xchg32(yield rmw(rcu.head), 0);
  let freed = 0;
  if (first !== 0) {
    yield* synchronizeRcu(rcu, thread);
    freed = yield* freeChain(allocator, thread, first, PageState.rcu);
    thread.counters[Counter.rcuPagesFreed] += freed;
  }
  memory.add32(yield rmw(rcu.processing), -1);
  yield wake(rcu.processing, rcu.threadCount);
  return freed;
}

/** Waits until every page that was queued before the call has been freed (`rcu_barrier()`). Errors: sleeping-in-atomic. */
export function* rcuBarrier(rcu: Rcu, allocator: PageAllocator, thread: Thread): Task<void> {
  yield* rcuProcessCallbacks(rcu, allocator, thread);
  const { memory } = thread;
  let busy = memory.load32(yield read(rcu.processing));
  while (busy !== 0) {
    yield untilChanged(thread, rcu.processing, busy);
    busy = memory.load32(yield read(rcu.processing));
  }
}
