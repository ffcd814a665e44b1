/**
 * SRCU: kvm->srcu, under which faults and notifiers use the memslots. Its readers may sleep.
 *
 * A reader counts itself under one of two indices, in its own thread's block; the active index says which one newcomers
 * take. A grace period first waits for stragglers under the other index (readers that read the active index before the
 * last change and counted themselves after it), then makes that other index the active one, and waits for the first.
 * Without the first wait a straggler would be missed by the next grace period. Each wait is for one index, to which new
 * readers do not come, so it ends. Kernel: kernel/rcu/srcutree.c (index and drain as there; its counts are split by CPU and
 * by direction because readers migrate, which threads here do not).
 *
 * Order: as for RCU, the entry is an exchange and the grace period begins with a barrier.
 */
import { Cost } from './cost.ts';
import { Counter } from './counters.ts';
import { InvariantError } from './invariant.ts';
import { checkMaySleep } from './lock-order.ts';
import { sleepLock, sleepUnlock } from './mutex.ts';
import { type Address, fence, own, read, relax, rmw, spend, type Task, write } from './point.ts';
import { THREAD_WORDS, type Thread, ThreadWord } from './thread.ts';

export const SRCU_WORDS = 32;

export interface SrcuOptions {
  /** First of {@link SRCU_WORDS} words, all 0 at the start. */
  readonly base: Address;
  /** The first of the threads' blocks, which lie one after the other. */
  readonly threads: Address;
  readonly threadCount: number;
}

export class Srcu {
  readonly threads: Address;
  readonly threadCount: number;
  /** The active index in bit 0; readers only load it. */
  readonly index: Address;
  /** Serialises grace periods; on a line of its own. */
  readonly gracePeriods: Address;

  constructor(options: SrcuOptions) {
    this.threads = options.threads;
    this.threadCount = options.threadCount;
    this.index = options.base;
    this.gracePeriods = (options.base + 16) as Address;
  }

  /** The word that counts the sections of thread number `id` under `index` (0 or 1). */
  counterWord(id: number, index: number): Address {
    return (this.threads + THREAD_WORDS * id + (index === 0 ? ThreadWord.srcu0 : ThreadWord.srcu1)) as Address;
  }
}

/** Enters a read-side section; the result goes to {@link srcuReadUnlock}. */
export function* srcuReadLock(srcu: Srcu, thread: Thread): Task<number> {
  const { memory } = thread;
  const index = memory.load32(yield read(srcu.index)) & 1;
  memory.xchg32(yield rmw(srcu.counterWord(thread.id, index)), ++thread.srcuSections[index]);
  return index;
}

/** Leaves the section that {@link srcuReadLock} entered under `index`. Errors: unlock-not-held. */
export function* srcuReadUnlock(srcu: Srcu, thread: Thread, index: number): Task<void> {
  if (thread.srcuSections[index] === 0) {
    throw new InvariantError('unlock-not-held', `${thread.name} leaves an SRCU section under index ${index} that it is not in`);
  }
  thread.memory.store32(yield write(srcu.counterWord(thread.id, index)), --thread.srcuSections[index]);
}

/** Whether `thread` is in a read-side section (`srcu_read_lock_held()`). */
export function srcuHeld(_srcu: Srcu, thread: Thread): boolean {
  return thread.srcuSections[0] + thread.srcuSections[1] > 0;
}

/**
 * Waits until every read-side section that had begun before the call has ended.
 * Errors: sleeping-in-atomic; self-deadlock inside a section of the same thread.
 */
export function* synchronizeSrcu(srcu: Srcu, thread: Thread): Task<void> {
  checkMaySleep(thread, 'synchronize_srcu');
  if (srcuHeld(srcu, thread)) {
    throw new InvariantError('self-deadlock', `${thread.name} waits for an SRCU section that it is in itself`);
  }
  const { memory } = thread;
  yield* sleepLock(srcu.gracePeriods, thread);
  yield fence();
  // Only the holder of the lock changes the index.
  const active = memory.load32(own(srcu.index)) & 1;
  yield* drain(srcu, thread, 1 - active);
  memory.xchg32(yield rmw(srcu.index), 1 - active);
  yield* drain(srcu, thread, active);
  yield spend(Cost.srcuGracePeriod);
  yield* sleepUnlock(srcu.gracePeriods, thread);
  thread.counters[Counter.srcuGracePeriods]++;
}

/** Waits until no thread is in a section under `index`. */
function* drain(srcu: Srcu, thread: Thread, index: number): Task<void> {
  for (let id = 0; id < srcu.threadCount; id++) {
    if (id === thread.id) continue;
    const word = srcu.counterWord(id, index);
    if (thread.whole !== null) yield thread.whole.untilClear(word, -1);
    else while (thread.memory.load32(yield read(word)) !== 0) yield relax(word);
  }
}
