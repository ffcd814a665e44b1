/**
 * The queue under the spinning locks: an MCS lock, first come, first served.
 *
 * The lock is a pointer to the last of the queue. Who wants it puts a node of its own there by one exchange; whoever finds
 * somebody before it links itself behind and waits on its own node, so that no two waiters look at the same word. The
 * holder's node stays in the queue until it releases. Kernel: kernel/locking/mcs_spinlock.h, kernel/locking/qspinlock.c;
 * unlike the latter there is no pending bit and no lock stealing, so that the fewest words take part.
 *
 * A lock is {@link QUEUE_LOCK_WORDS} words: the tail, and the node of the holder, which the holder alone writes and reads
 * (a watchdog may look at it to say who holds the lock).
 */
import { InvariantError } from './invariant.ts';
import { type Address, own, read, relax, rmw, type Task, wait, wake, write } from './point.ts';
import { LOCK_NESTING, type Thread, ThreadWord } from './thread.ts';

export const QUEUE_LOCK_WORDS = 2;

/** The word of the lock that holds the address of its holder's node, or 0. */
export const holderOf = (lock: Address): Address => (lock + 1) as Address;

/** Words of a node: 1 once the lock has been handed to its owner; the node behind it, or 0. */
const granted = (node: Address): Address => node;
const next = (node: Address): Address => (node + 1) as Address;

/** Takes a free node of `thread`, ready to be queued. */
export function takeNode(thread: Thread): Address {
  const free = ~thread.lockNodesInUse;
  const index = 31 - Math.clz32(free & -free);
  if (index >= LOCK_NESTING) {
    throw new InvariantError('lock-nesting', `${thread.name} holds or awaits more than ${LOCK_NESTING} queued locks`);
  }
  thread.lockNodesInUse |= 1 << index;
  const node = thread.word(ThreadWord.lockNodes + 2 * index);
  thread.memory.store32(own(granted(node)), 0);
  thread.memory.store32(own(next(node)), 0);
  return node;
}

function releaseNode(thread: Thread, node: Address): void {
  thread.lockNodesInUse &= ~(1 << ((node - thread.block - ThreadWord.lockNodes) >> 1));
}

/** Waits behind `previous`, whose node the exchange of the tail returned, until the lock is handed on to `node`. */
export function* awaitTurn(thread: Thread, node: Address, previous: Address): Task<void> {
  const { memory } = thread;
  memory.store32(yield write(next(previous)), node);
  while (memory.load32(yield read(granted(node))) === 0) yield wait(granted(node), 0);
}

/** Takes the lock at `lock` without any check. */
export function* queueLock(lock: Address, thread: Thread): Task<void> {
  const node = takeNode(thread);
  const previous = thread.memory.xchg32(yield rmw(lock), node);
  if (previous !== 0) yield* awaitTurn(thread, node, previous as Address);
  thread.memory.store32(own(holderOf(lock)), node);
}

/**
 * Releases the lock at `lock`, which `thread` holds.
 *
 * Where nobody queues, one exchange empties the tail. Otherwise the lock goes to the node behind. That one exchanged the
 * tail before ours failed, but may still be about to link itself: its link is all that we wait for, and not long. It can
 * not sleep for good: it sleeps only while its `granted` is 0, which is written before the wake.
 */
export function* queueUnlock(lock: Address, thread: Thread): Task<void> {
  const { memory } = thread;
  const node = memory.load32(own(holderOf(lock))) as Address;
  memory.store32(own(holderOf(lock)), 0);
  if (memory.cmpxchg32(yield rmw(lock), node, 0) !== node) {
    let follower = memory.load32(yield read(next(node))) as Address;
    while (follower === 0) {
      yield relax(next(node));
      follower = memory.load32(yield read(next(node))) as Address;
    }
    memory.store32(yield write(granted(follower)), 1);
    yield wake(granted(follower), 1);
  }
  releaseNode(thread, node);
}

/** Releases a lock that was taken in one step: nobody queues. */
export function* releaseWhole(lock: Address, thread: Thread): Task<void> {
  const { memory } = thread;
  const node = memory.load32(own(holderOf(lock))) as Address;
  memory.store32(own(holderOf(lock)), 0);
  memory.store32(yield write(lock), 0);
  releaseNode(thread, node);
}
