/**
 * Whether a page may be mapped writable under the spinlock (kernel: mmu_need_write_protect, for_each_gfn_indirect_valid_sp in
 * arch/x86/kvm/mmu.c of 5.4).
 *
 * A page that holds a guest's page table which is shadowed must stay protected, so each writable leaf asks the hash of
 * page-table pages for its gfn, and passes every page of the bucket. With two-dimensional paging no page can match, all of
 * them being direct, but they are in the hash, and nobody skips the search: in a guest of terabytes on 4K pages a bucket
 * holds hundreds of pages (max_mmu_page_hash_collisions), and each is a cache line that is nowhere near. All of that is
 * under mmu_lock. The TDP MMU's pages are in no hash.
 */
import { Cost } from '../machine/cost.ts';
import { type Address, own, read, spend, type Task } from '../machine/point.ts';
import type { Kvm } from '../mmu/kvm.ts';
import type { Gfn } from '../mmu/level.ts';
import { gfnIsWriteTracked } from '../mmu/page-track.ts';
import type { Rmaps } from './rmap.ts';
import { ShadowHeader } from './shadow-layout.ts';
import { bucketOf } from './shadow-page.ts';

/** Whether `gfn` must stay write-protected. mmu_lock is held, so the bucket's list stays as it is. */
export function* mmuNeedWriteProtect(kvm: Kvm, rmaps: Rmaps, gfn: Gfn): Task<boolean> {
  if (yield* gfnIsWriteTracked(kvm, gfn)) return true;
  const { memory, pages } = kvm;
  let passed = 0;
  for (let page = memory.load32(yield read(bucketOf(rmaps.layout, gfn))); page !== 0; passed++) {
    page = memory.load32(own(pages.word(page, ShadowHeader.hashNext) as Address));
  }
  if (passed > 0) yield spend(Cost.hashedPage, passed);
  return false;
}
