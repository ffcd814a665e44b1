/**
 * Page faults of the host process: by get_user_pages on behalf of a vCPU, or by the process itself (kernel: handle_mm_fault,
 * do_anonymous_page, do_huge_pmd_anonymous_page, hugetlb_fault, do_wp_page in mm/).
 *
 * Reading untouched anonymous memory maps the shared zero page; the first write replaces it, which is a change that the MMU
 * notifier hears of. Touching a whole, untouched 2M range of a THP region maps a huge page. hugetlbfs pages that were only
 * read are made writable in place.
 */
import { Cost } from '../machine/cost.ts';
import { spend, type Task } from '../machine/point.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { handleUserfault } from './host-mm.ts';
import { generationOf, HostPte, isHuge, isPresent, isTable, isWritable, isZeroPage, makePte, vmaFlags } from './host-pte.ts';
import {
  clampToEntry,
  type HostRegion,
  type HostSpace,
  lockedEntry,
  lockedPte,
  lockHostRange,
  readHostPte,
  setEntry,
  setPte,
  tableFor,
  unlockHostRange,
} from './host-space.ts';
import { changePte, type HostRange, invalidateRangeEnd, invalidateRangeStart } from './mmu-notifier.ts';
import { VmCounter } from './vm-counters.ts';

/** What {@link faultHostPage} returns where there is nothing to map, or not for writing. */
export const NO_HOST_PAGE = -1;

/**
 * Makes sure that the host maps `page`, for writing if `write`, and returns its entry, or {@link NO_HOST_PAGE} for an access
 * that the VMA does not allow. Takes no lock where the page is there already. The caller holds no spinning lock.
 */
export function* faultHostPage(kvm: Kvm, space: HostSpace, region: HostRegion, page: number, write: boolean): Task<number> {
  if (page < 0 || page >= region.pages) return NO_HOST_PAGE;
  for (;;) {
    const pte = yield* readHostPte(space, region, page);
    if (isPresent(pte) && (!write || isWritable(pte))) return pte;
    if ((pte & HostPte.unmapped) !== 0 || (write && (pte & HostPte.readonly) !== 0)) return NO_HOST_PAGE;
    if (!isPresent(pte)) yield* populate(kvm, space, region, page, write);
    else if (isZeroPage(pte)) yield* breakZeroPage(kvm, space, region, page, isHuge(pte));
    else yield* makeWritable(kvm, space, region, page);
  }
}

/** Maps a page that is not present: a huge one where the region and its range allow it. */
function* populate(kvm: Kvm, space: HostSpace, region: HostRegion, page: number, write: boolean): Task<void> {
  const { thread } = kvm;
  const entry = region.entryOf(page);
  if (region.userfaultfd) yield* handleUserfault(space);
  yield* lockHostRange(space, thread, region, entry);
  // Another thread may have come first.
  const old = lockedPte(space, region, page);
  if (!isPresent(old) && (old & HostPte.unmapped) === 0) {
    if (mayBeHuge(space, region, entry)) yield* populateHuge(kvm, space, region, entry, write);
    else yield* populate4k(kvm, space, region, page, write || region.userfaultfd);
  }
  yield* unlockHostRange(space, thread, region, entry);
}

/** Whether the range of `entry`, which is locked, may become one huge page. */
function mayBeHuge(space: HostSpace, region: HostRegion, entry: number): boolean {
  if (region.hugetlb) return true;
  const old = lockedEntry(space, region, entry);
  if (isTable(old) || isPresent(old) || region.userfaultfd || !region.holdsWhole(entry)) return false;
  return (region.type === 'thp') !== ((old & HostPte.advice) !== 0);
}

function* populateHuge(kvm: Kvm, space: HostSpace, region: HostRegion, entry: number, write: boolean): Task<void> {
  const old = lockedEntry(space, region, entry);
  const zero = !write && !region.hugetlb;
  let flags = vmaFlags(old) | HostPte.present | HostPte.huge;
  if (zero) flags |= HostPte.zero;
  // A supplied page, as one that the handler wrote, is writable at once.
  else if (!write && !region.userfaultfd) flags |= HostPte.writeProtected;
  const pte = makePte(flags, generationOf(old));
  if (zero) {
    kvm.counters[VmCounter.host_zero_pages]++;
  } else {
    space.frames.allocate(space.pfn(region, entry * region.span, pte), region.span);
    kvm.counters[VmCounter.host_faults]++;
    kvm.counters[VmCounter.host_faults_huge]++;
  }
  yield* setEntry(space, region, entry, pte);
  // Zeroing is what a huge page costs.
  yield spend(Cost.hostFault, zero ? 1 : region.span);
}

function* populate4k(kvm: Kvm, space: HostSpace, region: HostRegion, page: number, write: boolean): Task<void> {
  const old = lockedPte(space, region, page);
  const flags = vmaFlags(old) | HostPte.present;
  const pte = makePte(write ? flags : flags | HostPte.zero, generationOf(old));
  if (write) space.frames.allocate(space.pfn(region, page, pte), 1);
  kvm.counters[write ? VmCounter.host_faults : VmCounter.host_zero_pages]++;
  yield* setPte(space, kvm.thread, region, page, pte);
  yield spend(Cost.hostFault);
}

/**
 * Replaces the zero page by one that can be written. A huge zero page is split first, so that its range is invalidated as a
 * whole and then the written page on its own. The notifier runs in the thread that faults: it takes mmu_lock for write.
 */
function* breakZeroPage(kvm: Kvm, space: HostSpace, region: HostRegion, page: number, huge: boolean): Task<void> {
  const entry = region.entryOf(page);
  if (huge) {
    yield* splitHostRange(kvm, space, region, entry, 'huge');
    return;
  }
  const { thread, generation } = kvm;
  const range: HostRange = { region: region.index, first: page, end: page + 1 };
  yield* invalidateRangeStart(kvm, range);
  yield* lockHostRange(space, thread, region, entry);
  const old = lockedPte(space, region, page);
  if (isZeroPage(old)) {
    const pte = makePte(vmaFlags(old) | HostPte.present, generationOf(old));
    const pfn = space.pfn(region, page, pte);
    space.frames.allocate(pfn, 1);
    kvm.counters[VmCounter.host_faults]++;
    kvm.counters[VmCounter.host_zero_breaks]++;
    yield* setPte(space, thread, region, page, pte);
    if (generation.changePte) yield* changePte(kvm, region.index, page, pfn, true);
    yield spend(Cost.hostFault);
  }
  yield* unlockHostRange(space, thread, region, entry);
  yield* invalidateRangeEnd(kvm, range);
}

/** Which ranges {@link splitHostRange} gives a table: only those that one huge page maps, or all. */
export type SplitWhat = 'huge' | 'any';

/**
 * Splits the huge page of `entry` into 4K pages at the same frames (__split_huge_pmd). Its range is invalidated even where
 * it turns out not to be huge; with 'any' it gets a table all the same, so that it will not become huge.
 */
export function* splitHostRange(kvm: Kvm, space: HostSpace, region: HostRegion, entry: number, what: SplitWhat): Task<void> {
  const { first, end } = clampToEntry(region, entry, 0, region.pages);
  const range: HostRange = { region: region.index, first, end };
  yield* invalidateRangeStart(kvm, range);
  yield* lockHostRange(space, kvm.thread, region, entry);
  const word = lockedEntry(space, region, entry);
  if (!isTable(word) && (what === 'any' || isHuge(word))) yield* tableFor(space, kvm.thread, region, entry);
  yield* unlockHostRange(space, kvm.thread, region, entry);
  yield* invalidateRangeEnd(kvm, range);
}

/** Makes a hugetlbfs page writable that was only read so far. Its frame stays, so nobody need be told. */
function* makeWritable(kvm: Kvm, space: HostSpace, region: HostRegion, page: number): Task<void> {
  const entry = region.entryOf(page);
  yield* lockHostRange(space, kvm.thread, region, entry);
  const old = lockedEntry(space, region, entry);
  if ((old & HostPte.writeProtected) !== 0) yield* setEntry(space, region, entry, old & ~HostPte.writeProtected);
  yield* unlockHostRange(space, kvm.thread, region, entry);
}
