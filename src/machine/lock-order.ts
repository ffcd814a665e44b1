/**
 * The checks that every lock makes: what lockdep and might_sleep() are to the kernel.
 *
 * They look at the thread's own record of what it holds, so they cost a mask and a comparison where all is well.
 */
import { InvariantError } from './invariant.ts';
import { LOCK_NUMBERS, lockClasses, lockName } from './lock-number.ts';
import { Held, type Thread } from './thread.ts';

/** For each lock the `held` bits of the locks that must not be held when it is taken: itself and those not ranked below. */
const conflicts = new Int32Array(LOCK_NUMBERS);
/** The `held` bits of all locks under which nobody may sleep. */
let spinning = 0;

for (let lock = 0; lock < LOCK_NUMBERS; lock++) {
  if (!lockClasses[lock].sleeps) spinning |= 3 << (2 * lock);
  for (let other = 0; other < LOCK_NUMBERS; other++) {
    if (lockClasses[other].rank >= lockClasses[lock].rank) conflicts[lock] |= 3 << (2 * other);
  }
}

/** Checks that `thread` may take lock number `lock` now. */
export function checkAcquire(thread: Thread, lock: number): void {
  if ((thread.heldMask & conflicts[lock]) !== 0) refuse(thread, lock);
}

/** Checks that `thread` holds lock number `lock` in mode `held`, which it is about to release. */
export function checkRelease(thread: Thread, lock: number, held: Held): void {
  if (thread.held(lock) !== held) {
    const mode = held === Held.read ? 'for read' : 'for write';
    throw new InvariantError('unlock-not-held', `${thread.name} releases ${lockName(lock)}, which it does not hold ${mode}`);
  }
}

/** Throws where `thread` may not go to sleep, which `what` might make it do. */
export function checkMaySleep(thread: Thread, what: string): void {
  if ((thread.heldMask & spinning) === 0 && thread.rcuNesting === 0) return;
  const under = thread.rcuNesting > 0 ? 'an RCU read-side section' : heldNames(thread, spinning);
  throw new InvariantError('sleeping-in-atomic', `${thread.name}: ${what} may sleep, but runs under ${under}`);
}

/** Names of the locks that `thread` holds, of those in `mask`, for messages. */
export function heldNames(thread: Thread, mask = -1): string {
  const names = [];
  for (let lock = 0; lock < LOCK_NUMBERS; lock++) {
    if ((thread.heldMask & mask & (3 << (2 * lock))) !== 0) names.push(lockName(lock));
  }
  return names.join(', ') || 'no lock';
}

function refuse(thread: Thread, lock: number): never {
  if (thread.held(lock) !== Held.no) {
    throw new InvariantError('self-deadlock', `${thread.name} takes ${lockName(lock)}, which it holds already`);
  }
  const inner = heldNames(thread, conflicts[lock]);
  throw new InvariantError('lock-order', `${thread.name} takes ${lockName(lock)} while it holds ${inner}, which comes after it`);
}
