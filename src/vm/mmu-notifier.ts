/**
 * The MMU notifier: how the host tells KVM that its mapping of guest memory changes (kernel: kvm_mmu_notifier_* and
 * __kvm_handle_hva_range in virt/kvm/kvm_main.c).
 *
 * Ranges are host pages of a region. mmu_lock is taken only if a memslot overlaps the range, at the first that does. The
 * count of active invalidations, under a spinlock of its own, holds a swap of memslots up from start to end, so that both
 * see the same slots and what one begins the other ends.
 */

import { invariant } from '../machine/invariant.ts';
import { type Address, own, type Task, write } from '../machine/point.ts';
import { spinLock, spinUnlock } from '../machine/spinlock.ts';
import { srcuReadLock, srcuReadUnlock } from '../machine/srcu.ts';
import { kvmFlushRemoteTlbs } from '../mmu/flush.ts';
import { ageGfnRange, setSpteGfn, testAgeGfnRange, unmapGfnRange } from '../mmu/gfn-range.ts';
import { mmuInvalidateBegin, mmuInvalidateEnd, mmuInvalidateRangeAdd } from '../mmu/invalidate.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Pfn } from '../mmu/level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import { mmuWriteLock, mmuWriteUnlock } from '../mmu/mmu-lock.ts';
import { Site } from '../mmu/site.ts';
import { VmCounter } from './vm-counters.ts';
import { ADDRESS_SPACES } from './vm-layout.ts';

/** Host pages [first, end) of a region. */
export interface HostRange {
  readonly region: number;
  readonly first: number;
  readonly end: number;
}

/** A memslot, and the gfns of it that a range covers. */
interface Overlap {
  readonly slot: Memslot;
  readonly start: Gfn;
  readonly end: Gfn;
}

/** Where `range` shows in the guest: by address space, then by host address. The caller is in an SRCU section. */
function* overlaps(kvm: Kvm, range: HostRange): Task<readonly Overlap[]> {
  const found: Overlap[] = [];
  for (let asId = 0; asId < ADDRESS_SPACES; asId++) {
    const begin = found.length;
    for (const slot of yield* kvm.slots.all(kvm, asId)) {
      if (slot.region !== range.region) continue;
      const first = Math.max(range.first, slot.regionPage);
      const end = Math.min(range.end, slot.regionPage + slot.npages);
      if (first >= end) continue;
      const toGfn = slot.baseGfn - slot.regionPage;
      found.push({ slot, start: asGfn(first + toGfn), end: asGfn(end + toGfn) });
    }
    if (found.length > begin + 1) found.push(...found.splice(begin).sort((a, b) => a.slot.regionPage - b.slot.regionPage));
  }
  return found;
}

function* addActive(kvm: Kvm, delta: number): Task<void> {
  const word: Address = kvm.word(KvmWord.mnActive);
  const site = delta > 0 ? Site.kvm_mmu_notifier_invalidate_range_start : Site.kvm_mmu_notifier_invalidate_range_end;
  yield* spinLock(kvm.invalidateLock, kvm.thread, site);
  const active = kvm.memory.load32(own(word)) + delta;
  invariant(active >= 0, 'invalidate-underflow', 'an invalidation ended that had not begun');
  kvm.memory.store32(yield write(word), active);
  yield* spinUnlock(kvm.invalidateLock, kvm.thread);
}

/**
 * The host is about to unmap or change `range`: removes all translations of it, and keeps faults from mapping it until
 * {@link invalidateRangeEnd}. When it returns, no guest access uses the old pages any more.
 *
 * @param mayBlock whether the zap may yield
 */
export function* invalidateRangeStart(kvm: Kvm, range: HostRange, mayBlock = true): Task<void> {
  kvm.trace?.unmapHvaRange(range.region, range.first, range.end);
  kvm.counters[VmCounter.notifier_invalidations]++;
  yield* addActive(kvm, 1);
  const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
  const found = yield* overlaps(kvm, range);
  if (found.length === 0) {
    kvm.counters[VmCounter.notifier_elided]++;
  } else {
    yield* mmuWriteLock(kvm, Site.kvm_mmu_notifier_invalidate_range_start);
    yield* mmuInvalidateBegin(kvm);
    let flush = false;
    for (const { slot, start, end } of found) {
      yield* mmuInvalidateRangeAdd(kvm, start, end);
      if (yield* unmapGfnRange(kvm, slot, start, end, false, mayBlock)) flush = true;
    }
    // Before the lock goes: the host frees the pages as soon as we return, and others rely on what they find unmapped.
    if (flush) yield* kvmFlushRemoteTlbs(kvm);
    yield* mmuWriteUnlock(kvm);
  }
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
}

/** The change of `range` is done: faults may map it again. */
export function* invalidateRangeEnd(kvm: Kvm, range: HostRange): Task<void> {
  const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
  if ((yield* overlaps(kvm, range)).length > 0) {
    yield* mmuWriteLock(kvm, Site.kvm_mmu_notifier_invalidate_range_end);
    yield* mmuInvalidateEnd(kvm);
    yield* mmuWriteUnlock(kvm);
  }
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
  yield* addActive(kvm, -1);
}

/** What an aging call does with each memslot's part of the range; whether it was young. */
type AgeHandler = (kvm: Kvm, slot: Memslot, start: Gfn, end: Gfn) => Task<boolean>;

interface AgeOptions {
  readonly site: number;
  /** Whether the caller asks for a flush if a page was young: not all kernels do it. */
  readonly flush: boolean;
}

function* handleAge(kvm: Kvm, range: HostRange, handler: AgeHandler, options: AgeOptions): Task<boolean> {
  kvm.counters[VmCounter.notifier_ages]++;
  kvm.trace?.ageHvaRange(range.region, range.first, range.end);
  const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
  const found = yield* overlaps(kvm, range);
  let young = false;
  if (found.length > 0) {
    yield* mmuWriteLock(kvm, options.site);
    for (const { slot, start, end } of found) {
      if (yield* handler(kvm, slot, start, end)) young = true;
    }
    if (young) kvm.counters[VmCounter.notifier_ages_young]++;
    if (options.flush && young) {
      kvm.counters[kvm.generation.flushOnAge ? VmCounter.age_flushes : VmCounter.age_flushes_elided]++;
      if (kvm.generation.flushOnAge) yield* kvmFlushRemoteTlbs(kvm);
    }
    yield* mmuWriteUnlock(kvm);
  }
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
  return young;
}

/** Makes the pages of `range` old; whether one was young. No flush: a page may look old that is still in use. */
export function* clearYoung(kvm: Kvm, range: HostRange): Task<boolean> {
  return yield* handleAge(kvm, range, ageGfnRange, { site: Site.kvm_mmu_notifier_clear_young, flush: false });
}

/** As {@link clearYoung}, with a flush if one was young (until 6.12). */
export function* clearFlushYoung(kvm: Kvm, range: HostRange): Task<boolean> {
  return yield* handleAge(kvm, range, ageGfnRange, { site: Site.kvm_mmu_notifier_clear_flush_young, flush: true });
}

/** Whether a page of `range` is young. */
export function* testYoung(kvm: Kvm, range: HostRange): Task<boolean> {
  return yield* handleAge(kvm, range, testAgeGfnRange, { site: Site.kvm_mmu_notifier_test_young, flush: false });
}

/**
 * The host maps another frame in `page` (until 6.9). Between start and end of an invalidation of it, which has zapped
 * whatever this could change: why it was removed.
 */
export function* changePte(kvm: Kvm, region: number, page: number, pfn: Pfn, writable: boolean): Task<void> {
  const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
  const found = yield* overlaps(kvm, { region, first: page, end: page + 1 });
  if (found.length > 0) {
    yield* mmuWriteLock(kvm, Site.kvm_mmu_notifier_change_pte);
    let flush = false;
    for (const { slot, start } of found) {
      if (yield* setSpteGfn(kvm, slot, start, pfn, writable)) flush = true;
    }
    if (flush) yield* kvmFlushRemoteTlbs(kvm);
    yield* mmuWriteUnlock(kvm);
  }
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
}
