/** Splitting a huge page (kernel: tdp_mmu_split_huge_page in tdp_mmu.c, make_small_spte in spte.c). */
import { Cost } from '../machine/cost.ts';
import { spend, type Task } from '../machine/point.ts';
import type { Kvm } from './kvm.ts';
import { tdpMmuLinkSp } from './link-sp.ts';
import { roleAccess } from './mmu-page.ts';
import { UpdateKind } from './set-spte.ts';
import { Access } from './spte.ts';
import type { TdpIter } from './tdp-iter.ts';
import { addVmStat, pagesStat } from './vm-stat.ts';
import { storePrivateSpte } from './write-spte.ts';

/** errno of a lost race, as the tracepoint reports it. */
const EBUSY = 16;

/**
 * Replaces the huge leaf at the iterator's position by `page`, filled with the leaf's share for each child. The translations
 * are the same before and after, so nothing is flushed; what vCPUs may keep is as good as what they would load.
 *
 * @returns whether it did; if not, `iter.oldSpte` is what was found
 */
export function* splitHugePage(kvm: Kvm, iter: TdpIter, page: number, shared: boolean): Task<boolean> {
  const { geometry, pages } = kvm;
  const huge = iter.oldSpte;
  const { level } = iter;
  const exec = (roleAccess(pages.role(page)) & Access.exec) !== 0;
  const span = geometry.span(level - 1);
  // The table is private until it is linked, so its entries take plain stores and appear in no trace.
  yield spend(Cost.splitEntry, geometry.entries);
  for (let i = 0; i < geometry.entries; i++) {
    storePrivateSpte(kvm, pages.sptep(page, i), kvm.spte.makeSplitChild(huge, level, i * span, exec));
  }
  const done = yield* tdpMmuLinkSp(kvm, iter, page, shared, UpdateKind.split);
  // The children are counted here: their SPTEs changed without the function that counts changes.
  if (done) yield* addVmStat(kvm, pagesStat(level - 1), geometry.entries);
  kvm.trace?.splitHugePage(iter.gfn, huge, level, done ? 0 : -EBUSY);
  return done;
}
