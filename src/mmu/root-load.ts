/**
 * A vCPU's roots: finding or making one, loading it, dropping those that became obsolete (kernel: kvm_mmu_load,
 * kvm_tdp_mmu_alloc_root, kvm_mmu_free_roots, kvm_mmu_free_obsolete_roots).
 */
import { invariant } from '../machine/invariant.ts';
import { markLive } from '../machine/page-allocator.ts';
import { takeFromCache } from '../machine/page-cache.ts';
import { own, read, type Task } from '../machine/point.ts';
import { spinLock, spinUnlock } from '../machine/spinlock.ts';
import { MmuCounter } from './counters.ts';
import { topupMemoryCaches } from './faultin.ts';
import type { Kvm } from './kvm.ts';
import { asGfn } from './level.ts';
import { initSp } from './link-sp.ts';
import { mmuLock, mmuUnlock } from './mmu-lock.ts';
import { PageHeader, packRole, roleInvalid } from './mmu-page.ts';
import { kvmTdpMmuGetRoot, kvmTdpMmuPutRoot, linkRoot, nextRoot, nextRootNoRef, RootTypes, zapsOnLastPut } from './roots.ts';
import { Site } from './site.ts';
import { Access } from './spte.ts';
import { PREV_ROOTS, type VcpuMmu } from './vcpu-mmu.ts';

/** References of a new root: the vCPU's, and the MMU's own. */
const NEW_ROOT_COUNT = 2;

/** The role of the roots that the vCPU loads. */
function rootRole(kvm: Kvm, vcpu: VcpuMmu): number {
  return packRole({
    level: kvm.geometry.rootLevel,
    asId: vcpu.asId,
    guestMode: vcpu.guestMode,
    adDisabled: !kvm.config.adBits,
    access: Access.all,
  });
}

/** A valid root with `role`, with a reference to it, or 0. Roots may go meanwhile: the walk holds the one that it is at. */
function* findRoot(kvm: Kvm, role: number): Task<number> {
  const { valid } = RootTypes;
  const asId = (role >>> 4) & 15;
  let root = yield* nextRoot(kvm, 0, valid, asId);
  while (root !== 0 && kvm.pages.role(root) !== role) root = yield* nextRoot(kvm, root, valid, asId);
  return root;
}

/** The same under tdp_mmu_pages_lock, without which no root leaves the list. */
function* findRootLocked(kvm: Kvm, role: number): Task<number> {
  const { valid } = RootTypes;
  const asId = (role >>> 4) & 15;
  for (let root = yield* nextRootNoRef(kvm, 0, valid, asId); root !== 0; root = yield* nextRootNoRef(kvm, root, valid, asId)) {
    if (kvm.pages.role(root) === role && (yield* kvmTdpMmuGetRoot(kvm, root))) return root;
  }
  return 0;
}

/** Finds the root of the vCPU's role or makes it; the vCPU owns a reference (kvm_tdp_mmu_alloc_root). */
function* kvmTdpMmuAllocRoot(kvm: Kvm, vcpu: VcpuMmu): Task<number> {
  kvm.trace?.operation('alloc_root');
  const shared = kvm.generation.rootAllocLock === 'read';
  const role = rootRole(kvm, vcpu);
  yield* mmuLock(kvm, shared, Site.mmu_alloc_direct_roots);
  let root = yield* findRoot(kvm, role);
  if (root === 0) {
    yield* spinLock(kvm.pagesLock, kvm.thread, Site.mmu_alloc_direct_roots);
    // Two vCPUs may have missed it at the same time under the read lock: the second look is the one that counts.
    if (shared && kvm.bugs['duplicate-root-alloc-under-read-lock'] !== true) root = yield* findRootLocked(kvm, role);
    if (root === 0) root = yield* makeRoot(kvm, vcpu, role);
    yield* spinUnlock(kvm.pagesLock, kvm.thread);
  }
  yield* mmuUnlock(kvm, shared);
  return root;
}

function* makeRoot(kvm: Kvm, vcpu: VcpuMmu, role: number): Task<number> {
  const root = takeFromCache(vcpu.pageCache);
  initSp(kvm, root, role, asGfn(0), 0);
  const references = zapsOnLastPut(kvm) ? NEW_ROOT_COUNT - 1 : NEW_ROOT_COUNT;
  kvm.memory.store32(own(kvm.pages.word(root, PageHeader.rootCount)), references);
  markLive(kvm.allocator, kvm.thread, root);
  yield* linkRoot(kvm, root);
  return root;
}

/** Makes sure that the vCPU has a root loaded (kvm_mmu_reload). Returns false where there is no memory for one. */
export function* kvmMmuReload(kvm: Kvm, vcpu: VcpuMmu): Task<boolean> {
  if (vcpu.root !== 0) return true;
  if (!(yield* topupMemoryCaches(kvm, vcpu))) return false;
  const { backend } = kvm;
  vcpu.root = yield* backend === null ? kvmTdpMmuAllocRoot(kvm, vcpu) : backend.allocRoot(kvm, vcpu, rootRole(kvm, vcpu));
  kvm.counters[MmuCounter.root_loads]++;
  kvm.trace?.operation('load_root');
  vcpu.onLoadRoot(vcpu.root);
  return true;
}

function* isObsolete(kvm: Kvm, root: number): Task<boolean> {
  if (kvm.backend !== null) return yield* kvm.backend.isObsolete(kvm, root);
  return roleInvalid(kvm.memory.load32(yield read(kvm.pages.word(root, PageHeader.role))));
}

/** Drops the current root and the cached ones as far as `which` says; mmu_lock is taken once for all of them. */
function* freeRoots(kvm: Kvm, vcpu: VcpuMmu, roots: readonly number[]): Task<void> {
  if (roots.length === 0) return;
  if (kvm.backend !== null) {
    yield* kvm.backend.freeRoots(kvm, roots);
    if (vcpu.root === 0) vcpu.onLoadRoot(0);
    return;
  }
  const shared = kvm.generation.rootAllocLock === 'read';
  yield* mmuLock(kvm, shared, Site.kvm_mmu_unload);
  for (const root of roots) yield* kvmTdpMmuPutRoot(kvm, root);
  yield* mmuUnlock(kvm, shared);
  if (vcpu.root === 0) vcpu.onLoadRoot(0);
}

/** Serves KVM_REQ_MMU_FREE_OBSOLETE_ROOTS: gives back every root that was invalidated, cached ones included. */
export function* kvmMmuFreeObsoleteRoots(kvm: Kvm, vcpu: VcpuMmu): Task<void> {
  const obsolete: number[] = [];
  if (vcpu.root !== 0 && (yield* isObsolete(kvm, vcpu.root))) {
    obsolete.push(vcpu.root);
    vcpu.root = 0;
  }
  if (kvm.bugs['obsolete-prev-roots-not-checked'] !== true) {
    for (let i = 0; i < PREV_ROOTS; i++) {
      const root = vcpu.prevRoots[i];
      if (root === 0 || !(yield* isObsolete(kvm, root))) continue;
      obsolete.push(root);
      vcpu.prevRoots[i] = 0;
    }
  }
  yield* freeRoots(kvm, vcpu, obsolete);
}

/** Gives all roots back: the vCPU is going away or its role changes (kvm_mmu_unload). */
export function* kvmMmuUnload(kvm: Kvm, vcpu: VcpuMmu): Task<void> {
  const roots = [vcpu.root, ...vcpu.prevRoots].filter((root) => root !== 0);
  vcpu.root = 0;
  vcpu.prevRoots.fill(0);
  yield* freeRoots(kvm, vcpu, roots);
}

/**
 * Switches to a root of another role (SMM entry, nested guest), keeping the present one for later (fast_pgd_switch). The
 * cached root that has been unused longest is given back.
 */
export function* kvmMmuNewPgd(kvm: Kvm, vcpu: VcpuMmu, asId: number, guestMode: boolean): Task<void> {
  const previous = vcpu.root;
  vcpu.asId = asId;
  vcpu.guestMode = guestMode;
  const role = rootRole(kvm, vcpu);
  const dropped: number[] = [];
  vcpu.root = 0;
  for (let i = 0; i < PREV_ROOTS; i++) {
    const cached = vcpu.prevRoots[i];
    if (cached === 0 || kvm.pages.role(cached) !== role) continue;
    vcpu.root = cached;
    vcpu.prevRoots[i] = 0;
    break;
  }
  if (previous !== 0) {
    const free = vcpu.prevRoots.indexOf(0);
    const slot = free >= 0 ? free : PREV_ROOTS - 1;
    if (vcpu.prevRoots[slot] !== 0) dropped.push(vcpu.prevRoots[slot]);
    vcpu.prevRoots[slot] = previous;
  }
  yield* freeRoots(kvm, vcpu, dropped);
  if (vcpu.root !== 0) vcpu.onLoadRoot(vcpu.root);
  invariant(vcpu.root !== previous || previous === 0, 'pgd-switch', 'a vCPU switched to the root that it has');
}
