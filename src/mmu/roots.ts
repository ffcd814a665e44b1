/**
 * Roots: the list, references, and the walk over it (kernel: kvm_tdp_mmu_get_root, kvm_tdp_mmu_put_root, tdp_mmu_next_root and
 * the for_each_*_tdp_mmu_root macros in arch/x86/kvm/mmu/tdp_mmu.{h,c}).
 *
 * A root is on the list as long as it has references; its own vCPUs hold some, the MMU holds one until the root is
 * invalidated, and a walk over the roots holds one of the root that it is at, because it may drop mmu_lock there.
 */
import { InvariantError } from '../machine/invariant.ts';
import { LockNumber } from '../machine/lock-number.ts';
import { read, rmw, type Task, write } from '../machine/point.ts';
import { callRcu, rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { spinLock, spinUnlock } from '../machine/spinlock.ts';
import { Held } from '../machine/thread.ts';
import { MmuCounter } from './counters.ts';
import { type Kvm, KvmWord } from './kvm.ts';
import { assertMmuLockHeld } from './mmu-lock.ts';
import { invalidRole, PageHeader, roleAsId, roleInvalid } from './mmu-page.ts';
import { Site } from './site.ts';
import { tdpMmuZapRoot } from './zap-root-passes.ts';
import { scheduleZapRoot } from './zap-worker-queue.ts';

/** Which roots a walk visits. */
export const RootTypes = { valid: 1, invalid: 2, all: 3 } as const;

/** The roots that a change for the benefit of running vCPUs visits: those that one can run on. */
export function usableRoots(kvm: Kvm): number {
  return kvm.bugs['skip-invalid-roots-where-safe'] === true ? RootTypes.all : RootTypes.valid;
}

/** Any address space. */
export const ANY_AS = -1;

/** Whether the root was invalidated. Stable under mmu_lock; without it, a hint. */
export function* rootIsInvalid(kvm: Kvm, root: number): Task<boolean> {
  return roleInvalid(kvm.memory.load32(yield read(kvm.pages.word(root, PageHeader.role))));
}

/** Takes a reference unless there is none left (refcount_inc_not_zero). */
export function* kvmTdpMmuGetRoot(kvm: Kvm, root: number): Task<boolean> {
  const word = kvm.pages.word(root, PageHeader.rootCount);
  let seen = kvm.memory.load32(yield read(word));
  while (seen !== 0) {
    const now = kvm.memory.cmpxchg32(yield rmw(word), seen, seen + 1);
    if (now === seen) return true;
    seen = now;
  }
  return false;
}

/** Whether a valid root goes with its last user: since 6.4 the MMU itself keeps it, and only invalidation ends it. */
export function zapsOnLastPut(kvm: Kvm): boolean {
  return kvm.generation.zapRootOnLastPut || kvm.bugs['root-freed-on-every-unload'] === true;
}

/** Gives a reference back; with the last one the root leaves the list, and is freed after a grace period. */
export function* kvmTdpMmuPutRoot(kvm: Kvm, root: number): Task<void> {
  const old = kvm.memory.add32(yield rmw(kvm.pages.word(root, PageHeader.rootCount)), -1);
  if (old <= 0) throw new InvariantError('root-refcount-underflow', `root ${root} was put with ${old} references`);
  if (old > 1) return;
  const { rootZapFlushes: zapUnlisted } = kvm.generation;
  if (zapsOnLastPut(kvm) && !zapUnlisted && (yield* zapUnusedRoot(kvm, root))) return;
  if (!zapUnlisted && !(yield* rootIsInvalid(kvm, root)))
    throw new InvariantError('last-put-of-valid-root', `the last reference of root ${root} was put while it is valid`);
  yield* spinLock(kvm.pagesLock, kvm.thread, Site.kvm_tdp_mmu_put_root);
  yield* unlinkRoot(kvm, root);
  yield* spinUnlock(kvm.pagesLock, kvm.thread);
  kvm.counters[MmuCounter.tdp_mmu_roots]--;
  // Until 5.17 it was emptied only now, off the list, where no notifier would find it: so mmu_lock must not be dropped.
  if (zapUnlisted) yield* tdpMmuZapRoot(kvm, root, isShared(kvm), false);
  yield* callRcu(kvm.rcu, kvm.thread, root);
}

const isShared = (kvm: Kvm): boolean => kvm.thread.held(LockNumber.mmuLock) === Held.read;

/**
 * The last reference of a root that was still valid is gone (5.18 to 6.3). Nobody can get one any more; but it still maps
 * pages, which notifiers must find. So it is made invalid, gets its reference back, is zapped, by the worker where there is
 * one, and only then goes.
 *
 * @returns whether there was anything to do: the root was valid
 */
function* zapUnusedRoot(kvm: Kvm, root: number): Task<boolean> {
  const { memory, pages } = kvm;
  const word = pages.word(root, PageHeader.role);
  const role = memory.load32(yield read(word));
  if (roleInvalid(role)) return false;
  memory.store32(yield write(word), invalidRole(role));
  memory.store32(yield write(pages.word(root, PageHeader.rootCount)), 1);
  if (kvm.generation.rootZapBy === 'worker') {
    yield* scheduleZapRoot(kvm, root);
    return true;
  }
  yield* tdpMmuZapRoot(kvm, root, isShared(kvm));
  yield* kvmTdpMmuPutRoot(kvm, root);
  return true;
}

/** list_add_rcu at the head. Caller holds tdp_mmu_pages_lock. */
export function* linkRoot(kvm: Kvm, root: number): Task<void> {
  const { memory, pages } = kvm;
  const first = memory.load32(yield read(kvm.word(KvmWord.roots)));
  memory.store32(yield write(pages.word(root, PageHeader.rootNext)), first);
  memory.store32(yield write(kvm.word(KvmWord.roots)), root);
  kvm.counters[MmuCounter.tdp_mmu_roots]++;
}

/** list_del_rcu: walks that stand at the root still find the way on from it. Caller holds tdp_mmu_pages_lock. */
function* unlinkRoot(kvm: Kvm, root: number): Task<void> {
  const { memory, pages } = kvm;
  const next = memory.load32(yield read(pages.word(root, PageHeader.rootNext)));
  let link = kvm.word(KvmWord.roots);
  for (;;) {
    const at = memory.load32(yield read(link));
    if (at === 0) throw new InvariantError('root-not-listed', `root ${root} is not on the list of roots`);
    if (at === root) break;
    link = pages.word(at, PageHeader.rootNext);
  }
  memory.store32(yield write(link), next);
}

function* rootAfter(kvm: Kvm, previous: number): Task<number> {
  const link = previous === 0 ? kvm.word(KvmWord.roots) : kvm.pages.word(previous, PageHeader.rootNext);
  return kvm.memory.load32(yield read(link));
}

function* matches(kvm: Kvm, root: number, types: number): Task<boolean> {
  if (types === RootTypes.all) return true;
  const type = (yield* rootIsInvalid(kvm, root)) ? RootTypes.invalid : RootTypes.valid;
  return (types & type) !== 0;
}

/**
 * The next root after `previous` (0: the first) with a reference to it; gives back the one to `previous`. A loop that is left
 * early owes a `kvmTdpMmuPutRoot` for its root.
 *
 * @param types which roots, as {@link RootTypes}
 * @param asId the address space, or {@link ANY_AS}
 */
export function* nextRoot(kvm: Kvm, previous: number, types: number, asId: number): Task<number> {
  assertMmuLockHeld(kvm);
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  let root = yield* rootAfter(kvm, previous);
  while (root !== 0) {
    const wanted = asId === ANY_AS || roleAsId(kvm.pages.role(root)) === asId;
    if (wanted && (yield* matches(kvm, root, types)) && (yield* kvmTdpMmuGetRoot(kvm, root))) break;
    root = yield* rootAfter(kvm, root);
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  if (previous !== 0) {
    if (kvm.bugs['root-leak-when-iterator-holds-last-ref'] === true) {
      kvm.memory.add32(yield rmw(kvm.pages.word(previous, PageHeader.rootCount)), -1);
    } else {
      yield* kvmTdpMmuPutRoot(kvm, previous);
    }
  }
  return root;
}

/** The next root without a reference, for walks under the write lock that never yield. */
export function* nextRootNoRef(kvm: Kvm, previous: number, types: number, asId: number): Task<number> {
  assertMmuLockHeld(kvm);
  let root = yield* rootAfter(kvm, previous);
  while (root !== 0) {
    const wanted = asId === ANY_AS || roleAsId(kvm.pages.role(root)) === asId;
    if (wanted && (yield* matches(kvm, root, types))) return root;
    root = yield* rootAfter(kvm, root);
  }
  return 0;
}
