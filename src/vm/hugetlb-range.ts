/**
 * What system calls make of ranges that do not begin or end with a page of hugetlbfs (kernel: hugetlb_vm_op_split in
 * mm/hugetlb.c, madvise_dontneed_free_valid_vma in mm/madvise.c). Its pages cannot be split, so neither can its VMAs.
 */
import type { PageRange } from './host-operations.ts';
import type { HostRegion } from './host-space.ts';

/** Whether a VMA would have to be split within a page, which is refused: -EINVAL. */
export function splitsHugetlbPage(region: HostRegion, { first, pages }: PageRange): boolean {
  if (!region.hugetlb) return false;
  const end = Math.min(first + pages, region.pages);
  return first % region.span !== 0 || (end % region.span !== 0 && end !== region.pages);
}

/**
 * The pages that MADV_DONTNEED drops of `range`: whole ones only, so that nobody who does not know of them loses more than
 * was named; null where it does not begin with one, which is refused.
 */
export function hugetlbDontneed(region: HostRegion, { first, pages }: PageRange): PageRange | null {
  if (!region.hugetlb) return { first, pages };
  if (first % region.span !== 0) return null;
  const end = Math.min(first + pages, region.pages);
  return { first, pages: end === region.pages ? end - first : Math.floor((end - first) / region.span) * region.span };
}
