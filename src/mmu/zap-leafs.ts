/** Zapping the leaves of a range (kernel: tdp_mmu_zap_leafs, kvm_tdp_mmu_unmap_gfn_range, kvm_zap_gfn_range). */
import type { Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import { mmuInvalidateBegin, mmuInvalidateEnd, mmuInvalidateRangeAdd } from './invalidate.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, PG_LEVEL_4K } from './level.ts';
import { assertMmuLockHeldWrite, mmuWriteLock, mmuWriteUnlock } from './mmu-lock.ts';
import { ANY_AS, nextRoot, nextRootNoRef, RootTypes, rootIsInvalid, usableRoots } from './roots.ts';
import { iterSetSpte } from './set-spte.ts';
import { Site } from './site.ts';
import { isLastSpte } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched } from './tdp-iter-resched.ts';
import { zapGfnRange } from './zap-gfn-range.ts';

/**
 * Zaps every leaf of `root` that maps something of [start, end). Tables stay; until 5.17 those inside the range go, too.
 *
 * @param flush whether the caller owes a flush already; the yield inside pays for it
 * @returns whether a flush is owed
 */
export function* tdpMmuZapLeafs(kvm: Kvm, root: number, start: Gfn, end: Gfn, canYield: boolean, flush: boolean): Task<boolean> {
  assertMmuLockHeldWrite(kvm);
  const { bugs, generation } = kvm;
  if (generation.leafZapRemovesTables) return yield* zapGfnRange(kvm, root, start, end, canYield, flush);
  let owed = bugs['flush-lost-when-yielding-in-next-root'] === true ? false : flush;
  const iter = new TdpIter(kvm.spte.nonpresent);
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  yield* tdpIterStart(kvm, iter, root, PG_LEVEL_4K, start);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    const late = bugs['resched-check-only-after-change'] === true;
    if (!late && canYield && (yield* tdpMmuIterCondResched(kvm, iter, owed, false))) {
      owed = false;
      continue;
    }
    if (!iterPresent(iter) || !isLastSpte(iter.oldSpte, iter.level)) continue;
    if (late && canYield && (yield* tdpMmuIterCondResched(kvm, iter, owed, false))) {
      owed = false;
      continue;
    }
    yield* iterSetSpte(kvm, iter, kvm.spte.nonpresent);
    // vCPUs flush when they load a root, and nobody loads an invalid one.
    if (!(yield* rootIsInvalid(kvm, root))) owed = true;
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  return owed || (flush && bugs['flush-lost-when-yielding-in-next-root'] === true);
}

/**
 * Unmaps [start, end) of address space `asId` for the MMU notifier: in all roots, because a host page that goes away must be
 * unreachable through a root that is only waiting to be zapped, too.
 */
export function* kvmTdpMmuUnmapGfnRange(
  kvm: Kvm,
  asId: number,
  start: Gfn,
  end: Gfn,
  mayBlock: boolean,
  flush: boolean,
): Task<boolean> {
  const { bugs } = kvm;
  const types = bugs['notifier-skips-invalid-roots'] === true ? RootTypes.valid : RootTypes.all;
  const step = bugs['notifier-root-iter-not-yield-safe'] === true ? nextRootNoRef : nextRoot;
  let owed = flush;
  for (let root = yield* step(kvm, 0, types, asId); root !== 0; root = yield* step(kvm, root, types, asId)) {
    owed = yield* tdpMmuZapLeafs(kvm, root, start, end, mayBlock, owed);
  }
  return owed;
}

/** Zaps [start, end) in all valid roots of every address space, under an invalidation of its own (kvm_zap_gfn_range). */
export function* kvmZapGfnRange(kvm: Kvm, start: Gfn, end: Gfn): Task<void> {
  const window = kvm.bugs['zap-gfn-range-without-invalidate-window'] !== true;
  yield* mmuWriteLock(kvm, Site.kvm_zap_gfn_range);
  if (window) {
    yield* mmuInvalidateBegin(kvm);
    yield* mmuInvalidateRangeAdd(kvm, start, end);
  }
  let flush = false;
  if (kvm.backend !== null) {
    flush = yield* kvm.backend.zapGfnRange(kvm, start, end);
  } else {
    const valid = usableRoots(kvm);
    for (let root = yield* nextRoot(kvm, 0, valid, ANY_AS); root !== 0; root = yield* nextRoot(kvm, root, valid, ANY_AS)) {
      flush = yield* tdpMmuZapLeafs(kvm, root, start, end, true, flush);
    }
  }
  if (flush) yield* kvmFlushRemoteTlbs(kvm);
  if (window) yield* mmuInvalidateEnd(kvm);
  yield* mmuWriteUnlock(kvm);
}
