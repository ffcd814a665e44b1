/**
 * Zapping all pages, or the obsolete ones, or some of those made for nx_huge_pages (kernel: kvm_mmu_zap_all_fast,
 * kvm_zap_obsolete_pages, kvm_mmu_zap_all, kvm_recover_nx_lpages in arch/x86/kvm/mmu.c of 5.4).
 */
import { read, type Task, write } from '../machine/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../machine/srcu.ts';
import { makeAllVcpusRequest, Request } from '../machine/tlb-shootdown.ts';
import { MmuCounter } from '../mmu/counters.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import { mmuWriteLock, mmuWriteUnlock } from '../mmu/mmu-lock.ts';
import { PageHeader, roleInvalid } from '../mmu/mmu-page.ts';
import { Site } from '../mmu/site.ts';
import { VmStat } from '../mmu/vm-stat.ts';
import { breakMmuLock, needBreak } from './cond-resched.ts';
import type { Rmaps } from './rmap.ts';
import { ShadowHeader, ShadowWord } from './shadow-layout.ts';
import { commitZapPage, type InvalidList, isObsoleteSp, prepareZapPage } from './shadow-page.ts';

/** Pages zapped before the lock may be given away (BATCH_ZAP_PAGES). */
const BATCH_ZAP_PAGES = 10;

/** A page that was zapped already, and stays until the last vCPU lets go of it. */
function* isInvalidRoot(kvm: Kvm, page: number): Task<boolean> {
  return roleInvalid(kvm.memory.load32(yield read(kvm.pages.word(page, PageHeader.role))));
}

/**
 * Makes all pages obsolete at once, by another generation, and zaps them while vCPUs fill new roots. The caller holds
 * slots_lock, so that there is never a third generation.
 */
export function* zapAllFast(kvm: Kvm, rmaps: Rmaps): Task<void> {
  yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_all_fast);
  kvm.trace?.operation('kvm_mmu_zap_all_fast');
  const generation = kvm.word(KvmWord.validGen);
  kvm.memory.store32(yield write(generation), 1 - kvm.memory.load32(yield read(generation)));
  // Waits for vCPUs in the guest: from here on none runs on an obsolete root, and none faults into one.
  yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.freeObsoleteRoots, { wait: true });
  yield* zapObsoletePages(kvm, rmaps);
  yield* mmuWriteUnlock(kvm);
}

/** Oldest first: the first page of the new generation ends it, for the list is in order of age. */
function* zapObsoletePages(kvm: Kvm, rmaps: Rmaps): Task<void> {
  const { memory, pages } = kvm;
  const tail = rmaps.layout.word(ShadowWord.activeTail);
  const zapped: InvalidList = [];
  let batch = 0;
  for (let page = memory.load32(yield read(tail)); page !== 0; ) {
    if (!(yield* isObsoleteSp(kvm, page))) break;
    const previous = memory.load32(yield read(pages.word(page, ShadowHeader.activePrev)));
    if (yield* isInvalidRoot(kvm, page)) {
      page = previous;
      continue;
    }
    // No flush is owed for that: what goes is out of use. It is not freed, either, before the end.
    if (batch >= BATCH_ZAP_PAGES && (yield* needBreak(kvm))) {
      batch = 0;
      yield* breakMmuLock(kvm, Site.kvm_zap_obsolete_pages);
      page = memory.load32(yield read(tail));
      continue;
    }
    const before = zapped.length;
    yield* prepareZapPage(kvm, rmaps, page, zapped);
    batch += zapped.length - before;
    page = previous;
  }
  // The flush is for walks without the lock, which may still stand in these pages.
  yield* commitZapPage(kvm, zapped);
}

/** Zaps all pages, because the process's memory goes away: no vCPU runs any more. */
export function* zapAll(kvm: Kvm, rmaps: Rmaps): Task<void> {
  const { memory, pages } = kvm;
  const head = rmaps.layout.word(ShadowWord.activeHead);
  const zapped: InvalidList = [];
  yield* mmuWriteLock(kvm, Site.kvm_mmu_zap_all);
  kvm.trace?.operation('zap_all');
  for (let page = memory.load32(yield read(head)); page !== 0; ) {
    const next = memory.load32(yield read(pages.word(page, ShadowHeader.activeNext)));
    if (yield* isInvalidRoot(kvm, page)) {
      page = next;
      continue;
    }
    yield* prepareZapPage(kvm, rmaps, page, zapped);
    page = next;
    if (!(yield* needBreak(kvm))) continue;
    yield* breakMmuLock(kvm, Site.kvm_mmu_zap_all);
    page = memory.load32(yield read(head));
  }
  yield* commitZapPage(kvm, zapped);
  yield* mmuWriteUnlock(kvm);
}

/** Zaps 1/ratio of the tables that nx_huge_pages made, oldest first. Returns how many. */
export function* recoverNxHugePages(kvm: Kvm, rmaps: Rmaps): Task<number> {
  const { memory } = kvm;
  const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
  yield* mmuWriteLock(kvm, Site.kvm_recover_nx_huge_pages);
  const ratio = kvm.params.get('nxHugePagesRecoveryRatio');
  const splits = memory.load32(yield read(kvm.word(KvmWord.stats + 2 * VmStat.nxLpageSplits)));
  const zapped: InvalidList = [];
  let recovered = 0;
  for (let left = ratio > 0 ? Math.ceil(splits / ratio) : 0; left > 0; left--) {
    const page = memory.load32(yield read(kvm.word(KvmWord.nxPages)));
    if (page === 0) break;
    yield* prepareZapPage(kvm, rmaps, page, zapped);
    recovered++;
    kvm.counters[MmuCounter.nx_recovered]++;
    if (left === 1 || !(yield* needBreak(kvm))) continue;
    yield* commitZapPage(kvm, zapped);
    yield* breakMmuLock(kvm, Site.kvm_recover_nx_huge_pages);
  }
  yield* commitZapPage(kvm, zapped);
  yield* mmuWriteUnlock(kvm);
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
  return recovered;
}
