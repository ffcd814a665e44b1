/**
 * Changes of the host process's VMAs: mprotect, munmap, mapping anew, and advice about huge pages (kernel: mm/mprotect.c,
 * mm/mmap.c, mm/huge_memory.c).
 *
 * Where such a change splits a VMA inside a 2M range, the kernel splits a huge page that might lie across the boundary and
 * so invalidates the whole 2M first, even if it is mapped by 4K pages (vma_adjust_trans_huge, split_huge_pmd_address). It
 * does not where the VMA does not hold the whole 2M.
 */
import { Cost } from '../machine/cost.ts';
import { mutexLock, mutexUnlock } from '../machine/mutex.ts';
import { spend, type Task } from '../machine/point.ts';
import { Site } from '../mmu/site.ts';
import { Errno } from './errno.ts';
import { splitHostRange } from './host-fault.ts';
import { dropRange, entriesOf, hostCollapse, hostDontneed, hostRange, type PageRange } from './host-operations.ts';
import { HostPte, isTable, VMA_FLAGS, vmaFlags, withVmaFlags } from './host-pte.ts';
import {
  clampToEntry,
  type HostRegion,
  lockedEntry,
  lockedPte,
  lockHostRange,
  setEntry,
  setPte,
  unlockHostRange,
} from './host-space.ts';
import { splitsHugetlbPage } from './hugetlb-range.ts';
import { type HostRange, invalidateRangeEnd, invalidateRangeStart } from './mmu-notifier.ts';
import type { Vm } from './vm.ts';

export type Protection = 'read' | 'read-write';
export type Advice = 'dontneed' | 'collapse' | 'hugepage' | 'nohugepage';

/** mprotect. Returns 0, or -EINVAL within a hugetlbfs page. */
export function* hostMprotect(vm: Vm, region: HostRegion, range: PageRange, protection: Protection): Task<number> {
  if (splitsHugetlbPage(region, range)) return -Errno.EINVAL;
  const flag = protection === 'read' ? HostPte.readonly : 0;
  yield* changeVmas(vm, region, hostRange(region, range), HostPte.readonly, flag, (whole) => protect(vm, region, whole, flag));
  return 0;
}

/** The kernel goes by what it finds in the page table: nothing there, nobody is told. */
function* protect(vm: Vm, region: HostRegion, range: HostRange, flag: number): Task<void> {
  const touched = yield* anyTouched(vm, region, range);
  if (touched) yield* invalidateRangeStart(vm.kvm, range);
  yield* setVmaFlags(vm, region, range, HostPte.readonly, flag);
  if (touched) {
    yield* invalidateRangeEnd(vm.kvm, range);
  } else if (yield* anyTouched(vm, region, range)) {
    // Faults do not take mmap_lock here; one that came between saw the old protection.
    yield* invalidateRangeStart(vm.kvm, range);
    yield* invalidateRangeEnd(vm.kvm, range);
  }
}

/** munmap: a later access finds no mapping, until {@link hostRemap}. Returns 0, or -EINVAL within a hugetlbfs page. */
export function* hostMunmap(vm: Vm, region: HostRegion, range: PageRange): Task<number> {
  if (splitsHugetlbPage(region, range)) return -Errno.EINVAL;
  yield* changeVmas(vm, region, hostRange(region, range), VMA_FLAGS, HostPte.unmapped, (whole) => unmap(vm, region, whole));
  return 0;
}

/** mmap with MAP_FIXED: fresh memory as the region began, in the place of what was there. Returns as {@link hostMunmap}. */
export function* hostRemap(vm: Vm, region: HostRegion, range: PageRange): Task<number> {
  if (splitsHugetlbPage(region, range)) return -Errno.EINVAL;
  const whole = hostRange(region, range);
  yield* changeVmas(vm, region, whole, VMA_FLAGS, HostPte.unmapped, (mapped) => unmap(vm, region, mapped));
  yield* mutexLock(vm.space.mmapLock, vm.thread, Site.user);
  yield* setVmaFlags(vm, region, whole, VMA_FLAGS, 0);
  yield* mutexUnlock(vm.space.mmapLock, vm.thread);
  return 0;
}

/** madvise. Returns 0, or -EINVAL for what the memory cannot do. */
export function* hostMadvise(vm: Vm, region: HostRegion, range: PageRange, advice: Advice): Task<number> {
  if (advice === 'dontneed') return yield* hostDontneed(vm, region, range);
  if (advice === 'collapse') return yield* hostCollapse(vm, region, range);
  if (splitsHugetlbPage(region, range)) return -Errno.EINVAL;
  const flag = (advice === 'hugepage') === (region.type === 'thp') ? 0 : HostPte.advice;
  yield* changeVmas(vm, region, hostRange(region, range), HostPte.advice, flag, (whole) =>
    setVmaFlags(vm, region, whole, HostPte.advice, flag),
  );
  return 0;
}

function* unmap(vm: Vm, region: HostRegion, range: HostRange): Task<void> {
  yield* invalidateRangeStart(vm.kvm, range);
  // In this order: what is dropped can no more be faulted in.
  yield* setVmaFlags(vm, region, range, VMA_FLAGS, HostPte.unmapped);
  yield* dropRange(vm, region, range);
  yield* invalidateRangeEnd(vm.kvm, range);
}

/**
 * Applies `change` to `range` with mmap_lock held, after the splits of VMAs that it takes, unless the flags under `mask`
 * are `flags` already on all its pages.
 */
function* changeVmas(
  vm: Vm,
  region: HostRegion,
  range: HostRange,
  mask: number,
  flags: number,
  change: (range: HostRange) => Task<void>,
): Task<void> {
  yield spend(Cost.syscall);
  yield* mutexLock(vm.space.mmapLock, vm.thread, Site.user);
  if (range.end > range.first && !(yield* allHave(vm, region, range, mask, flags))) {
    yield* splitVma(vm, region, range);
    yield* change(range);
  }
  yield* mutexUnlock(vm.space.mmapLock, vm.thread);
}

/** Splits the VMA before and behind `range`. */
function* splitVma(vm: Vm, region: HostRegion, range: HostRange): Task<void> {
  const { first, end } = range;
  if (region.hugetlb) return;
  const { span } = region;
  const firstEntry = region.entryOf(first);
  const endEntry = region.entryOf(end);
  if (first % span !== 0) yield* splitAt(vm, region, firstEntry);
  // After the first split the VMA begins at `first`.
  if (end % span !== 0 && first <= endEntry * span) yield* splitAt(vm, region, endEntry);
}

function* splitAt(vm: Vm, region: HostRegion, entry: number): Task<void> {
  if (yield* oneVma(vm, region, entry)) yield* splitHostRange(vm.kvm, vm.space, region, entry, 'any');
}

/** Whether one VMA holds the whole range of `entry`. mmap_lock is held, so flags stay. */
function* oneVma(vm: Vm, region: HostRegion, entry: number): Task<boolean> {
  if (!region.holdsWhole(entry)) return false;
  const base = entry * region.span;
  yield* lockHostRange(vm.space, vm.thread, region, entry);
  const flags = vmaFlags(lockedPte(vm.space, region, base));
  yield* unlockHostRange(vm.space, vm.thread, region, entry);
  const range = { region: region.index, first: base, end: base + region.span };
  return (flags & HostPte.unmapped) === 0 && (yield* allHave(vm, region, range, VMA_FLAGS, flags));
}

function* allHave(vm: Vm, region: HostRegion, range: HostRange, mask: number, flags: number): Task<boolean> {
  for (const entry of entriesOf(region, range)) {
    const { first, end } = clampToEntry(region, entry, range.first, range.end);
    yield* lockHostRange(vm.space, vm.thread, region, entry);
    const last = isTable(lockedEntry(vm.space, region, entry)) ? end : first + 1;
    let all = true;
    for (let page = first; all && page < last; page++) all = (lockedPte(vm.space, region, page) & mask) === flags;
    yield* unlockHostRange(vm.space, vm.thread, region, entry);
    if (!all) return false;
  }
  return true;
}

/** Whether the host's page table has anything in `range`: if not, there is nothing to tell the notifier. */
function* anyTouched(vm: Vm, region: HostRegion, range: HostRange): Task<boolean> {
  for (const entry of entriesOf(region, range)) {
    yield* lockHostRange(vm.space, vm.thread, region, entry);
    const word = lockedEntry(vm.space, region, entry);
    yield* unlockHostRange(vm.space, vm.thread, region, entry);
    if (isTable(word) || (word & HostPte.present) !== 0) return true;
  }
  return false;
}

/** Replaces the VMA flags under `mask` by `flags` on all pages of `range`. */
function* setVmaFlags(vm: Vm, region: HostRegion, range: HostRange, mask: number, flags: number): Task<void> {
  const { space, thread } = vm;
  for (const entry of entriesOf(region, range)) {
    const { first, end } = clampToEntry(region, entry, range.first, range.end);
    const all = clampToEntry(region, entry, 0, region.pages);
    yield* lockHostRange(space, thread, region, entry);
    const word = lockedEntry(space, region, entry);
    const changed = (pte: number): number => withVmaFlags(pte, (vmaFlags(pte) & ~mask) | flags);
    if (!isTable(word) && first === all.first && end === all.end) {
      yield* setEntry(space, region, entry, changed(word));
    } else {
      for (let page = first; page < end; page++)
        yield* setPte(space, thread, region, page, changed(lockedPte(space, region, page)));
    }
    yield* unlockHostRange(space, thread, region, entry);
  }
}
