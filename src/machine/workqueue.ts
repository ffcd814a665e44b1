/**
 * A work queue: items that one thread hands to workers, each a kind and an argument.
 *
 * Kernel: kernel/workqueue.c, as tdp_mmu_zap_wq uses it (5.18 to 6.4). Items start in order, several workers may serve one
 * queue, and a flush waits for all that was queued before it, in whatever order the items finish. The ring and its numbers
 * are guarded by one spinlock; sleepers watch two words that are written under it.
 */
import { Counter } from './counters.ts';
import { InvariantError } from './invariant.ts';
import { LockNumber } from './lock-number.ts';
import { checkMaySleep } from './lock-order.ts';
import { type Address, own, read, type Task, wake, write } from './point.ts';
import { MachineSite } from './site.ts';
import { SPINLOCK_WORDS, SpinLock, spinLock, spinUnlock } from './spinlock.ts';
import type { Thread } from './thread.ts';
import { untilChanged } from './whole-steps.ts';

/** Items that may be queued or under way at a time. */
export const WORKQUEUE_CAPACITY = 128;

/** Words of an item in the ring. */
const SlotWord = { kind: 0, argument: 1, finished: 2 } as const;
const SLOT_WORDS = 4;

export const WORKQUEUE_WORDS = SPINLOCK_WORDS + 48 + SLOT_WORDS * WORKQUEUE_CAPACITY;

/** How many may sleep on one word; a wake for all. */
const ALL = 0x7fff_ffff;

export class Workqueue {
  readonly lock: SpinLock;
  /** Items queued, started, so far; whether the queue was stopped. Under the lock. */
  readonly queued: Address;
  readonly started: Address;
  readonly stopped: Address;
  /** Changes when an item is queued and when the queue stops: idle workers sleep on it. */
  readonly events: Address;
  /** The first so many items are finished: flushes sleep on it. */
  readonly completed: Address;
  readonly #ring: Address;

  /** `base`: first of {@link WORKQUEUE_WORDS} words, all 0 at the start. */
  constructor(base: Address) {
    const at = (word: number): Address => (base + SPINLOCK_WORDS + word) as Address;
    this.lock = new SpinLock(base, LockNumber.workqueue);
    this.queued = at(0);
    this.started = at(1);
    this.stopped = at(2);
    this.events = at(16);
    this.completed = at(32);
    this.#ring = at(48);
  }

  /** Address of a word of the place of item number `ticket`. */
  slot(ticket: number, word: number): Address {
    return (this.#ring + SLOT_WORDS * (ticket % WORKQUEUE_CAPACITY) + word) as Address;
  }
}

/** An item that a worker took. */
export interface WorkItem {
  readonly kind: number;
  readonly argument: number;
  /** Its number among all items of the queue, from 0. */
  readonly ticket: number;
}

/** Queues an item; false if the queue is full or stopped. Never waits for workers. */
export function* queueWork(queue: Workqueue, thread: Thread, kind: number, argument: number): Task<boolean> {
  const { memory } = thread;
  yield* spinLock(queue.lock, thread, MachineSite.queue_work);
  const ticket = memory.load32(own(queue.queued));
  // Only holders of the lock write `completed`.
  const full = ticket - memory.load32(own(queue.completed)) >= WORKQUEUE_CAPACITY;
  if (full || memory.load32(own(queue.stopped)) !== 0) {
    yield* spinUnlock(queue.lock, thread);
    return false;
  }
  memory.store32(own(queue.slot(ticket, SlotWord.kind)), kind);
  memory.store32(own(queue.slot(ticket, SlotWord.argument)), argument);
  memory.store32(own(queue.slot(ticket, SlotWord.finished)), 0);
  memory.store32(own(queue.queued), ticket + 1);
  const events = memory.load32(own(queue.events)) + 1;
  memory.store32(yield write(queue.events), events);
  yield* spinUnlock(queue.lock, thread);
  yield wake(queue.events, 1);
  thread.counters[Counter.workQueued]++;
  return true;
}

/** The next item that nobody has started, or null. Whoever takes it says when it is done by {@link finishWork}. */
export function* takeWork(queue: Workqueue, thread: Thread): Task<WorkItem | null> {
  yield* spinLock(queue.lock, thread, MachineSite.process_one_work);
  const item = takeLocked(queue, thread);
  yield* spinUnlock(queue.lock, thread);
  return item;
}

function takeLocked(queue: Workqueue, { memory }: Thread): WorkItem | null {
  const ticket = memory.load32(own(queue.started));
  if (ticket >= memory.load32(own(queue.queued))) return null;
  const kind = memory.load32(own(queue.slot(ticket, SlotWord.kind)));
  const argument = memory.load32(own(queue.slot(ticket, SlotWord.argument)));
  memory.store32(own(queue.started), ticket + 1);
  return { kind, argument, ticket };
}

/**
 * The next item, for a worker; sleeps until there is one, and returns null once the queue is stopped and empty. The worker
 * says when it is done by {@link finishWork}. Errors: sleeping-in-atomic.
 */
export function* nextWork(queue: Workqueue, thread: Thread): Task<WorkItem | null> {
  checkMaySleep(thread, 'worker_thread');
  const { memory } = thread;
  for (;;) {
    yield* spinLock(queue.lock, thread, MachineSite.process_one_work);
    const item = takeLocked(queue, thread);
    const stopped = memory.load32(own(queue.stopped)) !== 0;
    // Read under the lock: whatever is queued after we looked changes it.
    const events = memory.load32(own(queue.events));
    yield* spinUnlock(queue.lock, thread);
    if (item !== null || stopped) return item;
    yield untilChanged(thread, queue.events, events);
  }
}

/** Reports that `item` is done. Errors: work-finished-twice. */
export function* finishWork(queue: Workqueue, thread: Thread, item: WorkItem): Task<void> {
  const { memory } = thread;
  yield* spinLock(queue.lock, thread, MachineSite.process_one_work);
  let completed = memory.load32(own(queue.completed));
  const finished = (ticket: number): Address => queue.slot(ticket, SlotWord.finished);
  if (item.ticket < completed || memory.load32(own(finished(item.ticket))) !== 0) {
    throw new InvariantError('work-finished-twice', `${thread.name} finishes work item ${item.ticket} a second time`);
  }
  memory.store32(own(finished(item.ticket)), 1);
  const started = memory.load32(own(queue.started));
  const before = completed;
  while (completed < started && memory.load32(own(finished(completed))) !== 0) completed++;
  if (completed !== before) memory.store32(yield write(queue.completed), completed);
  yield* spinUnlock(queue.lock, thread);
  if (completed !== before) yield wake(queue.completed, ALL);
  thread.counters[Counter.workDone]++;
}

/** Waits until all that was queued before the call is done (`flush_workqueue()`). Errors: sleeping-in-atomic. */
export function* flushWorkqueue(queue: Workqueue, thread: Thread): Task<void> {
  checkMaySleep(thread, 'flush_workqueue');
  const { memory } = thread;
  yield* spinLock(queue.lock, thread, MachineSite.flush_workqueue);
  const target = memory.load32(own(queue.queued));
  yield* spinUnlock(queue.lock, thread);
  let completed = memory.load32(yield read(queue.completed));
  while (completed < target) {
    yield untilChanged(thread, queue.completed, completed);
    completed = memory.load32(yield read(queue.completed));
  }
}

/** Makes idle workers look round once, as if something were queued: they may be told elsewhere to come to an end. */
export function* wakeWorkers(queue: Workqueue, thread: Thread): Task<void> {
  const { memory } = thread;
  yield* spinLock(queue.lock, thread, MachineSite.queue_work);
  const events = memory.load32(own(queue.events)) + 1;
  memory.store32(yield write(queue.events), events);
  yield* spinUnlock(queue.lock, thread);
  yield wake(queue.events, ALL);
}

/** Lets nothing be queued any more; workers finish what is there and then get null. */
export function* stopWorkqueue(queue: Workqueue, thread: Thread): Task<void> {
  const { memory } = thread;
  yield* spinLock(queue.lock, thread, MachineSite.queue_work);
  memory.store32(own(queue.stopped), 1);
  const events = memory.load32(own(queue.events)) + 1;
  memory.store32(yield write(queue.events), events);
  yield* spinUnlock(queue.lock, thread);
  yield wake(queue.events, ALL);
}
