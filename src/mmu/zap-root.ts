/**
 * Zapping whole roots (kernel: tdp_mmu_zap_root, kvm_tdp_mmu_invalidate_roots, kvm_tdp_mmu_zap_invalidated_roots,
 * kvm_tdp_mmu_zap_all, kvm_tdp_mmu_zap_sp).
 *
 * An invalidated root is unreachable for vCPUs before it is zapped, so nothing is flushed here; but it stays on the list with
 * a reference until it is empty, for a host page that goes away meanwhile must be found through it.
 */
import { type Address, read, type Task, write } from '../machine/point.ts';
import { MmuCounter } from './counters.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import { type Kvm, KvmWord } from './kvm.ts';
import { asGfn, type Gfn } from './level.ts';
import { assertMmuLockHeldWrite, mmuLock, mmuUnlock } from './mmu-lock.ts';
import { invalidRole, PageHeader, roleAsId, roleInvalid } from './mmu-page.ts';
import { ANY_AS, kvmTdpMmuGetRoot, kvmTdpMmuPutRoot, nextRoot, nextRootNoRef, RootTypes, zapsOnLastPut } from './roots.ts';
import { setSpte } from './set-spte.ts';
import { Site } from './site.ts';
import { isShadowPresent } from './spte.ts';
import { readSpte } from './write-spte.ts';
import { zapGfnRange } from './zap-gfn-range.ts';
import { tdpMmuZapRoot } from './zap-root-passes.ts';
import { flushZapWork } from './zap-worker.ts';
import { scheduleZapRoot } from './zap-worker-queue.ts';

/**
 * Marks every valid root invalid and hands the MMU's own reference to whoever zaps it. The request to drop such roots must be
 * made in the same hold of mmu_lock (`kvmMmuZapAllFast`).
 */
export function* kvmTdpMmuInvalidateAllRoots(kvm: Kvm): Task<void> {
  const { generation, memory, pages } = kvm;
  let root = memory.load32(yield read(kvm.word(KvmWord.roots)));
  while (root !== 0) {
    const role = memory.load32(yield read(pages.word(root, PageHeader.role)));
    // Until 6.4 valid roots have no reference of the MMU's own that could be given to the zapper: it gets one now, unless the
    // last one is just being put.
    const given = !roleInvalid(role) && (!zapsOnLastPut(kvm) || (yield* kvmTdpMmuGetRoot(kvm, root)));
    if (given) {
      memory.store32(yield write(pages.word(root, PageHeader.role)), invalidRole(role));
      if (generation.rootZapBy === 'worker') yield* scheduleZapRoot(kvm, root);
      else memory.store32(yield write(pages.word(root, PageHeader.scheduledRootToZap)), 1);
      kvm.counters[MmuCounter.roots_invalidated]++;
    }
    root = memory.load32(yield read(pages.word(root, PageHeader.rootNext)));
  }
}

/**
 * Sees to it that the roots that were invalidated are zapped, and the reference that came with them put: in the kernels that
 * have a worker for it, by waiting for that. The caller holds slots_lock, and no mmu_lock.
 */
export function* kvmTdpMmuZapInvalidatedRoots(kvm: Kvm, shared: boolean): Task<void> {
  kvm.trace?.operation('zap_invalidated_roots');
  if (kvm.generation.rootZapBy === 'worker') {
    yield* flushZapWork(kvm);
    return;
  }
  const { bugs, memory, pages } = kvm;
  const { all } = RootTypes;
  yield* mmuLock(kvm, shared, Site.kvm_tdp_mmu_zap_invalidated_roots);
  for (let root = yield* nextRoot(kvm, 0, all, ANY_AS); root !== 0; root = yield* nextRoot(kvm, root, all, ANY_AS)) {
    const scheduled = pages.word(root, PageHeader.scheduledRootToZap);
    if (bugs['invalid-root-reference-put-twice'] === true) {
      if (!roleInvalid(memory.load32(yield read(pages.word(root, PageHeader.role))))) continue;
    } else if (memory.load32(yield read(scheduled)) === 0) {
      continue;
    }
    memory.store32(yield write(scheduled), 0);
    if (bugs['defunct-root-unreachable-while-zapping'] === true) {
      yield* kvmTdpMmuPutRoot(kvm, root);
      yield* tdpMmuZapRoot(kvm, root, shared);
    } else {
      yield* tdpMmuZapRoot(kvm, root, shared);
      // Put after the zap: until then notifiers must find the root.
      yield* kvmTdpMmuPutRoot(kvm, root);
    }
  }
  yield* mmuUnlock(kvm, shared);
}

/** Zaps all roots because the address space is going away. No flush since 5.18: no vCPU can run any more. */
export function* kvmTdpMmuZapAll(kvm: Kvm): Task<void> {
  assertMmuLockHeldWrite(kvm);
  const { all } = RootTypes;
  let flush = false;
  for (let root = yield* nextRoot(kvm, 0, all, ANY_AS); root !== 0; root = yield* nextRoot(kvm, root, all, ANY_AS)) {
    if (yield* tdpMmuZapRoot(kvm, root, false)) flush = true;
  }
  if (flush) yield* kvmFlushRemoteTlbs(kvm);
}

/**
 * Zaps the one table `page` through the SPTE that links it; until 5.17 its range, in all roots of its address space. Never
 * yields, because the caller owes a flush for other tables. Returns whether a flush is owed.
 */
export function* kvmTdpMmuZapSp(kvm: Kvm, page: number): Task<boolean> {
  const { pages } = kvm;
  if (kvm.generation.leafZapRemovesTables) return yield* zapRangeOfTable(kvm, page);
  const sptep: Address = pages.ptep(page);
  if (sptep === 0) return false;
  const old = yield* readSpte(kvm, sptep);
  if (!isShadowPresent(old)) return false;
  const role = pages.role(page);
  const gfn: Gfn = pages.gfn(page);
  yield* setSpte(kvm, roleAsId(role), sptep, old, kvm.spte.nonpresent, gfn, pages.level(page) + 1);
  return true;
}

function* zapRangeOfTable(kvm: Kvm, page: number): Task<boolean> {
  const { geometry, pages } = kvm;
  const { valid } = RootTypes;
  const asId = roleAsId(pages.role(page));
  const start = pages.gfn(page);
  const end = asGfn(start + geometry.span(pages.level(page) + 1));
  let flush = false;
  for (let root = yield* nextRootNoRef(kvm, 0, valid, asId); root !== 0; root = yield* nextRootNoRef(kvm, root, valid, asId)) {
    flush = yield* zapGfnRange(kvm, root, start, end, false, flush);
  }
  return flush;
}
