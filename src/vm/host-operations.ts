/**
 * What the host process, or the kernel on its own account, does to the memory behind the guest: dropping, collapsing, aging
 * and migrating pages (kernel: mm/madvise.c, mm/khugepaged.c, mm/vmscan.c, mm/migrate.c).
 *
 * Each tells the MMU notifier before and after it changes a page table. Ranges are pages of a region; pages beyond its end
 * are ignored.
 */
import { Cost } from '../machine/cost.ts';
import { mutexLock, mutexUnlock } from '../machine/mutex.ts';
import { spend, type Task } from '../machine/point.ts';
import { Site } from '../mmu/site.ts';
import { Errno } from './errno.ts';
import { faultHostPage, NO_HOST_PAGE, splitHostRange } from './host-fault.ts';
import {
  droppedPte,
  generationOf,
  HostPte,
  isHuge,
  isPresent,
  isTable,
  isWritable,
  isZeroPage,
  makePte,
  vmaFlags,
} from './host-pte.ts';
import {
  clampToEntry,
  type HostRegion,
  lockedEntry,
  lockedPte,
  lockHostRange,
  nextHugePte,
  replaceTable,
  setEntry,
  setPte,
  unlockHostRange,
} from './host-space.ts';
import { hugetlbDontneed } from './hugetlb-range.ts';
import {
  clearFlushYoung,
  clearYoung,
  type HostRange,
  invalidateRangeEnd,
  invalidateRangeStart,
  testYoung,
} from './mmu-notifier.ts';
import type { Vm } from './vm.ts';
import { VmCounter } from './vm-counters.ts';

/** Pages [first, first + pages) of a region. */
export interface PageRange {
  readonly first: number;
  readonly pages: number;
}

/** The range for the notifier, cut off at the end of the region; hugetlbfs pages are affected as a whole. */
export function hostRange(region: HostRegion, range: PageRange): HostRange {
  const unit = region.hugetlb ? region.span : 1;
  const first = Math.floor(range.first / unit) * unit;
  const end = Math.min(Math.ceil((range.first + range.pages) / unit) * unit, region.pages);
  return { region: region.index, first, end };
}

/** Directory entries that `range` touches. */
export function entriesOf(region: HostRegion, range: HostRange): readonly number[] {
  const first = region.entryOf(range.first);
  const count = range.end > range.first ? region.entryOf(range.end - 1) - first + 1 : 0;
  return Array.from({ length: count }, (_, i) => first + i);
}

/** MADV_DONTNEED: gives the pages up; the next touch finds zeros. Returns 0, or -EINVAL within a hugetlbfs page. */
export function* hostDontneed(vm: Vm, region: HostRegion, range: PageRange): Task<number> {
  yield spend(Cost.syscall);
  const dropped = hugetlbDontneed(region, range);
  if (dropped === null) return -Errno.EINVAL;
  const whole = hostRange(region, dropped);
  if (whole.end <= whole.first) return 0;
  yield* invalidateRangeStart(vm.kvm, whole);
  yield* dropRange(vm, region, whole);
  yield* invalidateRangeEnd(vm.kvm, whole);
  return 0;
}

/** Drops the pages of `range`, which is being invalidated. A huge page that it covers in part is split first. */
export function* dropRange(vm: Vm, region: HostRegion, range: HostRange): Task<void> {
  const { kvm, space } = vm;
  for (const entry of entriesOf(region, range)) {
    const { first, end } = clampToEntry(region, entry, range.first, range.end);
    const all = clampToEntry(region, entry, 0, region.pages);
    const wholeEntry = first === all.first && end === all.end;
    yield* lockHostRange(space, kvm.thread, region, entry);
    // A fault may make the range huge again while it is not locked.
    while (!wholeEntry && isHugeEntry(lockedEntry(space, region, entry))) {
      yield* unlockHostRange(space, kvm.thread, region, entry);
      yield* splitHostRange(kvm, space, region, entry, 'huge');
      yield* lockHostRange(space, kvm.thread, region, entry);
    }
    if (wholeEntry && !isTable(lockedEntry(space, region, entry))) yield* dropEntry(vm, region, entry);
    else for (let page = first; page < end; page++) yield* dropPage(vm, region, page);
    yield* unlockHostRange(space, kvm.thread, region, entry);
  }
}

/** Drops all pages of `entry`, which is locked and has no table. */
function* dropEntry(vm: Vm, region: HostRegion, entry: number): Task<void> {
  const { kvm, space } = vm;
  const old = lockedEntry(space, region, entry);
  if (!isPresent(old)) return;
  const { first, end } = clampToEntry(region, entry, 0, region.pages);
  if (!isZeroPage(old)) space.frames.free(space.pfn(region, first, old), end - first);
  kvm.counters[VmCounter.host_pages_dropped] += end - first;
  yield* setEntry(space, region, entry, droppedPte(old));
}

function* dropPage(vm: Vm, region: HostRegion, page: number): Task<void> {
  const { kvm, space } = vm;
  const old = lockedPte(space, region, page);
  if (!isPresent(old)) return;
  if (!isZeroPage(old)) space.frames.free(space.pfn(region, page, old), 1);
  kvm.counters[VmCounter.host_pages_dropped]++;
  yield* setPte(space, kvm.thread, region, page, droppedPte(old));
}

/** Whether a directory entry is a huge page. */
const isHugeEntry = (word: number): boolean => !isTable(word) && isHuge(word);

/**
 * MADV_COLLAPSE: makes each 2M range inside `range` one huge page, in new frames. Ranges that are huge stay as they are.
 *
 * @returns 0, or -EINVAL where a range could not be made huge: it belongs to several VMAs, or has no page that can be written
 */
export function* hostCollapse(vm: Vm, region: HostRegion, range: PageRange): Task<number> {
  yield spend(Cost.syscall);
  if (region.hugetlb) return -Errno.EINVAL;
  const { kvm, space } = vm;
  let result = 0;
  yield* mutexLock(space.mmapLock, vm.thread, Site.user);
  for (const entry of entriesOf(region, hostRange(region, range))) {
    const { first, end } = clampToEntry(region, entry, range.first, range.first + range.pages);
    if (end - first !== region.span) continue;
    const state = yield* collapseState(vm, region, entry);
    if (state === 'never') result = -Errno.EINVAL;
    if (state !== 'small') continue;
    const invalidated: HostRange = { region: region.index, first, end };
    yield* invalidateRangeStart(kvm, invalidated);
    yield* lockHostRange(space, vm.thread, region, entry);
    const huge = nextHugePte(space, region, entry);
    for (let page = first; page < end; page++) {
      const old = lockedPte(space, region, page);
      const to = space.pfn(region, page, huge);
      if (isPresent(old) && !isZeroPage(old)) space.frames.move(space.pfn(region, page, old), to);
      else space.frames.allocate(to, 1);
    }
    kvm.counters[VmCounter.host_pages_moved] += region.span;
    yield* replaceTable(space, region, entry, huge);
    yield* unlockHostRange(space, vm.thread, region, entry);
    yield* invalidateRangeEnd(kvm, invalidated);
    yield spend(Cost.hostFault, region.span);
  }
  yield* mutexUnlock(space.mmapLock, vm.thread);
  return result;
}

/**
 * Whether the range is huge, or of small pages that can become a huge one, or neither: they belong to one VMA that may have
 * huge pages, and one of them at least can be written. mmap_lock keeps VMAs as they are.
 */
function* collapseState(vm: Vm, region: HostRegion, entry: number): Task<'huge' | 'small' | 'never'> {
  const { space } = vm;
  yield* lockHostRange(space, vm.thread, region, entry);
  const base = entry * region.span;
  const flags = vmaFlags(lockedPte(space, region, base));
  let oneVma = true;
  let writable = false;
  for (let page = base; page < base + region.span; page++) {
    const pte = lockedPte(space, region, page);
    oneVma &&= vmaFlags(pte) === flags;
    writable ||= isWritable(pte);
  }
  const huge = isHugeEntry(lockedEntry(space, region, entry));
  yield* unlockHostRange(space, vm.thread, region, entry);
  const allowed = (flags & HostPte.unmapped) === 0 && (region.type === 'thp') !== ((flags & HostPte.advice) !== 0);
  if (!oneVma || !allowed) return 'never';
  if (huge) return 'huge';
  return writable ? 'small' : 'never';
}

/** The process itself reads or writes one word of each page of `range`; false where an access is not allowed. */
export function* hostTouch(vm: Vm, region: HostRegion, range: PageRange, access: 'read' | 'write'): Task<boolean> {
  for (let page = range.first; page < range.first + range.pages; page++) {
    if ((yield* faultHostPage(vm.kvm, vm.space, region, page, access === 'write')) === NO_HOST_PAGE) return false;
  }
  return true;
}

/** Which aging call: what reclaim uses (clear_young, or with a flush), or only a look. */
export type Aging = 'clear_young' | 'clear_flush_young' | 'test_young';

const agers = { clear_young: clearYoung, clear_flush_young: clearFlushYoung, test_young: testYoung } as const;

/**
 * Asks for each page that the host maps in `range` whether the guest used it, and makes it old: one call for a 4K page, one
 * for a huge page, with the page table locked. Returns how many were young.
 */
export function* hostAge(vm: Vm, region: HostRegion, range: PageRange, how: Aging): Task<number> {
  const { kvm, space } = vm;
  const whole = hostRange(region, range);
  let young = 0;
  for (const entry of entriesOf(region, whole)) {
    const part = clampToEntry(region, entry, whole.first, whole.end);
    yield* lockHostRange(space, vm.thread, region, entry);
    const word = lockedEntry(space, region, entry);
    if (isHugeEntry(word) && isZeroPage(word)) {
      yield* unlockHostRange(space, vm.thread, region, entry);
      continue;
    }
    if (isHugeEntry(word)) {
      const huge = clampToEntry(region, entry, 0, region.pages);
      if (yield* agers[how](kvm, { region: region.index, first: huge.first, end: huge.end })) young++;
    } else {
      for (let page = part.first; page < part.end; page++) {
        const pte = lockedPte(space, region, page);
        // The zero page is on no list of pages that reclaim looks at.
        if (!isPresent(pte) || isZeroPage(pte)) continue;
        if (yield* agers[how](kvm, { region: region.index, first: page, end: page + 1 })) young++;
      }
    }
    yield* unlockHostRange(space, vm.thread, region, entry);
  }
  return young;
}

/** Moves the pages that the host maps in `range` to other frames, each on its own (compaction, NUMA balancing). */
export function* hostMigratePages(vm: Vm, region: HostRegion, range: PageRange): Task<void> {
  const whole = hostRange(region, range);
  for (const entry of entriesOf(region, whole)) {
    const part = clampToEntry(region, entry, whole.first, whole.end);
    yield* lockHostRange(vm.space, vm.thread, region, entry);
    const huge = isHugeEntry(lockedEntry(vm.space, region, entry));
    yield* unlockHostRange(vm.space, vm.thread, region, entry);
    if (huge) {
      yield* migrate(vm, region, clampToEntry(region, entry, 0, region.pages));
    } else {
      for (let page = part.first; page < part.end; page++) yield* migrate(vm, region, { first: page, end: page + 1 });
    }
  }
}

/** Moves one page, 4K or huge, if it is there and not the zero page. */
function* migrate(vm: Vm, region: HostRegion, pages: { readonly first: number; readonly end: number }): Task<void> {
  const { kvm, space } = vm;
  const { first, end } = pages;
  const entry = region.entryOf(first);
  const range: HostRange = { region: region.index, first, end };
  yield* invalidateRangeStart(kvm, range);
  yield* lockHostRange(space, vm.thread, region, entry);
  const old = lockedPte(space, region, first);
  const huge = end - first > 1;
  if (isPresent(old) && !isZeroPage(old) && isHuge(old) === huge) {
    const next = makePte(old & 0xff, generationOf(old) + 1);
    for (let page = first; page < end; page++) space.frames.move(space.pfn(region, page, old), space.pfn(region, page, next));
    kvm.counters[VmCounter.host_pages_moved] += end - first;
    if (huge) yield* setEntry(space, region, entry, next);
    else yield* setPte(space, vm.thread, region, first, next);
  }
  yield* unlockHostRange(space, vm.thread, region, entry);
  yield* invalidateRangeEnd(kvm, range);
}
