/**
 * Page-table pages of the rmap-based MMU (kernel: kvm_mmu_get_page, kvm_mmu_prepare_zap_page, kvm_mmu_commit_zap_page,
 * link_shadow_page, drop_parent_pte, mmu_page_zap_pte in arch/x86/kvm/mmu.c of 5.4).
 *
 * Pages are found by gfn and role in a hash, and stand on one list, newest first; all of it under mmu_lock. A page that lost
 * its parent stays in both, with what it maps, for another fault to find. A page that is zapped is freed after a flush of all
 * vCPUs, which also waits for walks without the lock (they run with the vCPU's mode saying so).
 */
import { invariant } from '../machine/invariant.ts';
import { freePage, markLive, PageState } from '../machine/page-allocator.ts';
import { takeFromCache } from '../machine/page-cache.ts';
import { type Address, own, read, type Task, write } from '../machine/point.ts';
import { makeAllVcpusRequest, Request } from '../machine/tlb-shootdown.ts';
import { MmuCounter } from '../mmu/counters.ts';
import { kvmFlushRemoteTlbs } from '../mmu/flush.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import type { Gfn } from '../mmu/level.ts';
import { initSp } from '../mmu/link-sp.ts';
import { invalidRole, PageHeader, roleAdDisabled, roleInvalid, roleLevel } from '../mmu/mmu-page.ts';
import { clearNxHugePageDisallowed, nxHugePageDisallowed, trackPossibleNxHugePage } from '../mmu/nx-huge-pages.ts';
import { isLastSpte, isShadowPresent, spteToChildPage } from '../mmu/spte.ts';
import type { VcpuMmu } from '../mmu/vcpu-mmu.ts';
import { addVmStat, VmStat } from '../mmu/vm-stat.ts';
import { readSpte, writeSptePlain } from '../mmu/write-spte.ts';
import { dropSpte } from './drop-spte.ts';
import type { Rmaps } from './rmap.ts';
import { ShadowHeader, type ShadowLayout, ShadowWord } from './shadow-layout.ts';
import { traceChange } from './shadow-spte.ts';

/** Pages zapped but not freed yet: they wait for the flush (the kernel's invalid_list). */
export type InvalidList = number[];

/** Of the hash's bits: the golden ratio, 64 bits (GOLDEN_RATIO_64 of hash_64()), as its upper and lower half. */
const RATIO_HIGH = 0x61c8_8646;
const RATIO_LOW = 0x80b5_83eb;

/** The bucket of the pages for `gfn` (kvm_page_table_hashfn): the upper bits of the gfn times the golden ratio. */
export function bucketOf(layout: ShadowLayout, gfn: Gfn): Address {
  const low = gfn >>> 0;
  const high = Math.floor(gfn / 2 ** 32);
  const upper = (Math.imul(low, RATIO_HIGH) + Math.imul(high, RATIO_LOW) + mulHigh(low, RATIO_LOW)) >>> 0;
  return (layout.hash + Math.floor(upper / (2 ** 32 / layout.buckets))) as Address;
}

/** The upper 32 bits of the product of two unsigned 32-bit numbers. */
function mulHigh(a: number, b: number): number {
  const cross = (a >>> 16) * (b & 0xffff) + (((a & 0xffff) * (b & 0xffff)) >>> 16);
  const other = (a & 0xffff) * (b >>> 16) + (cross % 0x10000);
  return (a >>> 16) * (b >>> 16) + Math.floor(cross / 0x10000) + Math.floor(other / 0x10000);
}

const header = (kvm: Kvm, page: number, word: number): Address => kvm.pages.word(page, word);

function* load(kvm: Kvm, a: Address): Task<number> {
  return kvm.memory.load32(yield read(a));
}

function* store(kvm: Kvm, a: Address, value: number): Task<void> {
  kvm.memory.store32(yield write(a), value);
}

/** Counts a page as used or not: below a root, as the TDP MMU does, or a root (kvm_mod_used_mmu_pages). */
function* modUsedMmuPages(kvm: Kvm, page: number, delta: number): Task<void> {
  if (kvm.pages.level(page) < kvm.geometry.rootLevel) yield* addVmStat(kvm, VmStat.tdpMmuPages, delta);
  else kvm.counters[MmuCounter.tdp_mmu_roots] += delta;
}

/** Whether the page was made before everything was last zapped (is_obsolete_sp). */
export function* isObsoleteSp(kvm: Kvm, page: number): Task<boolean> {
  if (roleInvalid(yield* load(kvm, header(kvm, page, PageHeader.role)))) return true;
  return (yield* load(kvm, header(kvm, page, ShadowHeader.validGen))) !== (yield* load(kvm, kvm.word(KvmWord.validGen)));
}

/** The page for `gfn` with `role`: found in the hash, or new. */
export function* getPage(kvm: Kvm, rmaps: Rmaps, vcpu: VcpuMmu, gfn: Gfn, role: number): Task<number> {
  const head = bucketOf(rmaps.layout, gfn);
  for (let page = yield* load(kvm, head); page !== 0; page = yield* load(kvm, header(kvm, page, ShadowHeader.hashNext))) {
    const same = kvm.pages.gfn(page) === gfn && (yield* load(kvm, header(kvm, page, PageHeader.role))) === role;
    if (same && !(yield* isObsoleteSp(kvm, page))) return page;
  }
  const page = takeFromCache(vcpu.pageCache);
  initSp(kvm, page, role, gfn, 0);
  kvm.memory.store32(own(header(kvm, page, ShadowHeader.parents)), 0);
  kvm.memory.store32(own(header(kvm, page, ShadowHeader.validGen)), yield* load(kvm, kvm.word(KvmWord.validGen)));
  markLive(kvm.allocator, kvm.thread, page);
  yield* store(kvm, header(kvm, page, ShadowHeader.hashNext), yield* load(kvm, head));
  yield* store(kvm, head, page);
  yield* linkActive(kvm, rmaps, page);
  yield* modUsedMmuPages(kvm, page, 1);
  return page;
}

/** Puts the page at the front of active_mmu_pages: the list is in order of age. */
function* linkActive(kvm: Kvm, rmaps: Rmaps, page: number): Task<void> {
  const head = rmaps.layout.word(ShadowWord.activeHead);
  const first = yield* load(kvm, head);
  yield* store(kvm, header(kvm, page, ShadowHeader.activeNext), first);
  yield* store(kvm, header(kvm, page, ShadowHeader.activePrev), 0);
  if (first === 0) yield* store(kvm, rmaps.layout.word(ShadowWord.activeTail), page);
  else yield* store(kvm, header(kvm, first, ShadowHeader.activePrev), page);
  yield* store(kvm, head, page);
}

function* unlinkActive(kvm: Kvm, rmaps: Rmaps, page: number): Task<void> {
  const next = yield* load(kvm, header(kvm, page, ShadowHeader.activeNext));
  const prev = yield* load(kvm, header(kvm, page, ShadowHeader.activePrev));
  const forward = prev === 0 ? rmaps.layout.word(ShadowWord.activeHead) : header(kvm, prev, ShadowHeader.activeNext);
  const back = next === 0 ? rmaps.layout.word(ShadowWord.activeTail) : header(kvm, next, ShadowHeader.activePrev);
  yield* store(kvm, forward, next);
  yield* store(kvm, back, prev);
}

function* unhash(kvm: Kvm, rmaps: Rmaps, page: number): Task<void> {
  let link = bucketOf(rmaps.layout, kvm.pages.gfn(page));
  for (let at = yield* load(kvm, link); at !== 0; at = yield* load(kvm, link)) {
    if (at === page) {
      yield* store(kvm, link, yield* load(kvm, header(kvm, page, ShadowHeader.hashNext)));
      return;
    }
    link = header(kvm, at, ShadowHeader.hashNext);
  }
}

/** Links `page` at `sptep`, which was not present, and remembers the parent (link_shadow_page). */
export function* linkShadowPage(kvm: Kvm, rmaps: Rmaps, sptep: Address, page: number): Task<void> {
  const spte = kvm.spte.makeNonleaf(page, roleAdDisabled(kvm.pages.role(page)));
  yield* writeSptePlain(kvm, sptep, spte);
  traceChange(kvm, sptep, kvm.spte.nonpresent, spte);
  yield* rmaps.add(header(kvm, page, ShadowHeader.parents), sptep);
  kvm.counters[MmuCounter.tables_linked]++;
}

/** Clears the SPTE that links `page` and forgets the parent. The page stays in the hash, for another fault to find. */
export function* dropParentPte(kvm: Kvm, rmaps: Rmaps, page: number, sptep: Address): Task<void> {
  const spte = kvm.spte.makeNonleaf(page, roleAdDisabled(kvm.pages.role(page)));
  yield* rmaps.remove(header(kvm, page, ShadowHeader.parents), sptep);
  yield* writeSptePlain(kvm, sptep, kvm.spte.nonpresent);
  traceChange(kvm, sptep, spte, kvm.spte.nonpresent);
  kvm.counters[MmuCounter.tables_removed]++;
}

/** Notes that `page` exists only because a huge page must not be executable (account_huge_nx_page). */
export function* accountHugeNxPage(kvm: Kvm, page: number): Task<void> {
  if (yield* nxHugePageDisallowed(kvm, page)) return;
  yield* store(kvm, header(kvm, page, PageHeader.nxHugePageDisallowed), 1);
  yield* trackPossibleNxHugePage(kvm, page);
}

/** Clears every entry of the page: leaves with their reverse mappings, links with their parents' lists, MMIO. */
function* unlinkChildren(kvm: Kvm, rmaps: Rmaps, page: number): Task<void> {
  const level = kvm.pages.level(page);
  for (let i = 0; i < kvm.geometry.entries; i++) {
    const sptep = kvm.pages.sptep(page, i);
    const spte = yield* readSpte(kvm, sptep);
    if (isShadowPresent(spte)) {
      if (isLastSpte(spte, level)) yield* dropSpte(kvm, rmaps, sptep);
      else yield* dropParentPte(kvm, rmaps, spteToChildPage(spte), sptep);
    } else if (kvm.spte.isMmio(spte)) {
      yield* writeSptePlain(kvm, sptep, kvm.spte.nonpresent);
      traceChange(kvm, sptep, spte, kvm.spte.nonpresent);
    }
  }
}

/**
 * Takes `page` out of the tables, its children and itself. It goes to `invalid`, to be freed by {@link commitZapPage}, unless
 * it is somebody's root: then it is only marked, and the last vCPU to let go of it comes here again.
 */
export function* prepareZapPage(kvm: Kvm, rmaps: Rmaps, page: number, invalid: InvalidList): Task<void> {
  const role = yield* load(kvm, header(kvm, page, PageHeader.role));
  kvm.trace?.prepareZapPage(page, kvm.pages.gfn(page), roleLevel(role));
  kvm.counters[MmuCounter.shadow_zapped]++;
  yield* unlinkChildren(kvm, rmaps, page);
  for (const sptep of yield* rmaps.list(header(kvm, page, ShadowHeader.parents))) {
    yield* dropParentPte(kvm, rmaps, page, sptep);
  }
  if (!roleInvalid(role)) yield* unhash(kvm, rmaps, page);
  const obsolete = yield* isObsoleteSp(kvm, page);
  yield* unlinkActive(kvm, rmaps, page);
  if (yield* nxHugePageDisallowed(kvm, page)) yield* clearNxHugePageDisallowed(kvm, page);
  yield* store(kvm, header(kvm, page, PageHeader.role), invalidRole(role));
  if ((yield* load(kvm, header(kvm, page, PageHeader.rootCount))) === 0) {
    yield* modUsedMmuPages(kvm, page, -1);
    invalid.push(page);
    return;
  }
  // To the front, where it is not in the way of those who look for old pages.
  yield* linkActive(kvm, rmaps, page);
  kvm.counters[MmuCounter.roots_invalidated]++;
  // Obsolete roots were asked back when they became obsolete.
  if (!obsolete) yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.freeObsoleteRoots, { wait: true });
}

/** Flushes, which also ends all walks without the lock, and frees what was zapped. */
export function* commitZapPage(kvm: Kvm, invalid: InvalidList): Task<void> {
  if (invalid.length === 0) return;
  yield* kvmFlushRemoteTlbs(kvm);
  for (const page of invalid.splice(0)) {
    const references = yield* load(kvm, header(kvm, page, PageHeader.rootCount));
    invariant(references === 0, 'free-of-root', `page ${page} is freed, though ${references} vCPUs have it for a root`);
    yield* freePage(kvm.allocator, kvm.thread, page, PageState.live);
  }
}
