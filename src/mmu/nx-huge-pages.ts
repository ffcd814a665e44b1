/**
 * Tables that exist only because a huge page must not be executable (kernel: nx_huge_page_disallowed and the list
 * possible_nx_huge_pages, arch/x86/kvm/mmu/{mmu,tdp_mmu}.c).
 *
 * The flag is set while a table is private. The list, and the flag of a linked table, are under tdp_mmu_pages_lock.
 */
import { own, read, type Task, write } from '../machine/point.ts';
import { spinLock, spinUnlock } from '../machine/spinlock.ts';
import { type Kvm, KvmWord } from './kvm.ts';
import { PageHeader } from './mmu-page.ts';
import { Site } from './site.ts';
import { addVmStat, VmStat } from './vm-stat.ts';

/** Whether `page` exists only because a huge page must not be executable. Under tdp_mmu_pages_lock, or while private. */
export function* nxHugePageDisallowed(kvm: Kvm, page: number): Task<boolean> {
  return kvm.memory.load32(yield read(kvm.pages.word(page, PageHeader.nxHugePageDisallowed))) !== 0;
}

export function setNxHugePageDisallowedPrivate(kvm: Kvm, page: number, value: boolean): void {
  kvm.memory.store32(own(kvm.pages.word(page, PageHeader.nxHugePageDisallowed)), value ? 1 : 0);
}

/** Puts `page` on the list of possible NX huge pages (track_possible_nx_huge_page). Caller holds tdp_mmu_pages_lock. */
export function* trackPossibleNxHugePage(kvm: Kvm, page: number): Task<void> {
  const { memory, pages } = kvm;
  const tail = memory.load32(yield read(kvm.word(KvmWord.nxPagesTail)));
  memory.store32(yield write(pages.word(page, PageHeader.nxPrev)), tail);
  memory.store32(yield write(pages.word(page, PageHeader.nxNext)), 0);
  if (tail === 0) memory.store32(yield write(kvm.word(KvmWord.nxPages)), page);
  else memory.store32(yield write(pages.word(tail, PageHeader.nxNext)), page);
  memory.store32(yield write(kvm.word(KvmWord.nxPagesTail)), page);
  yield* addVmStat(kvm, VmStat.nxLpageSplits, 1);
}

/** Whether `page` is on that list. */
function* isTracked(kvm: Kvm, page: number): Task<boolean> {
  const prev = kvm.memory.load32(yield read(kvm.pages.word(page, PageHeader.nxPrev)));
  if (prev !== 0) return true;
  return kvm.memory.load32(yield read(kvm.word(KvmWord.nxPages))) === page;
}

/** Takes `page` off the list, if it is on it (untrack_possible_nx_huge_page). Caller holds tdp_mmu_pages_lock. */
export function* untrackPossibleNxHugePage(kvm: Kvm, page: number): Task<void> {
  if (!(yield* isTracked(kvm, page))) return;
  const { memory, pages } = kvm;
  const prev = memory.load32(yield read(pages.word(page, PageHeader.nxPrev)));
  const next = memory.load32(yield read(pages.word(page, PageHeader.nxNext)));
  memory.store32(yield write(prev === 0 ? kvm.word(KvmWord.nxPages) : pages.word(prev, PageHeader.nxNext)), next);
  memory.store32(yield write(next === 0 ? kvm.word(KvmWord.nxPagesTail) : pages.word(next, PageHeader.nxPrev)), prev);
  memory.store32(yield write(pages.word(page, PageHeader.nxPrev)), 0);
  memory.store32(yield write(pages.word(page, PageHeader.nxNext)), 0);
  yield* addVmStat(kvm, VmStat.nxLpageSplits, -1);
}

/** Accounts for a table that was unlinked and takes it off the NX list. */
export function* tdpMmuUnlinkSp(kvm: Kvm, page: number): Task<void> {
  yield* addVmStat(kvm, VmStat.tdpMmuPages, -1);
  if (!(yield* nxHugePageDisallowed(kvm, page))) return;
  yield* spinLock(kvm.pagesLock, kvm.thread, Site.tdp_mmu_unlink_sp);
  yield* clearNxHugePageDisallowed(kvm, page);
  yield* spinUnlock(kvm.pagesLock, kvm.thread);
}

/** Clears the flag and takes the table off the list (unaccount_nx_huge_page). Caller holds tdp_mmu_pages_lock. */
export function* clearNxHugePageDisallowed(kvm: Kvm, page: number): Task<void> {
  kvm.memory.store32(yield write(kvm.pages.word(page, PageHeader.nxHugePageDisallowed)), 0);
  yield* untrackPossibleNxHugePage(kvm, page);
}

/** Puts a new table on the NX list unless it was unlinked meanwhile, which cleared its flag. */
export function* trackUnlessUnlinked(kvm: Kvm, page: number): Task<void> {
  yield* spinLock(kvm.pagesLock, kvm.thread, Site.kvm_tdp_mmu_map);
  if ((yield* nxHugePageDisallowed(kvm, page)) || kvm.bugs['nx-sp-tracked-after-zap'] === true) {
    yield* trackPossibleNxHugePage(kvm, page);
  }
  yield* spinUnlock(kvm.pagesLock, kvm.thread);
}
