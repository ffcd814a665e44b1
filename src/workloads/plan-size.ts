/** What a VM may need at most: page-table pages have PFNs below guest memory's, and addresses are 32-bit integers. */
import { layoutPlan } from '../engines/plan.ts';
import { FIRST_GUEST_PFN } from '../vm/frames.ts';
import { vmConfig } from '../vm/vm-config.ts';
import { formatSize, PAGE_BYTES } from './size.ts';
import { UsageError } from './usage-error.ts';
import type { WorkloadPlan } from './workload.ts';

/** Page-table pages, page 0 included: 4 GiB of them. */
export const TABLE_PAGES_MAX = FIRST_GUEST_PFN;

/** Words of the largest arena. */
const ARENA_WORDS_MAX = 2 ** 31;

const GIB = 2 ** 30;

/** Bytes in words that can be read: whole units of 1G, or of 1M below that. */
export function roundedSize(bytes: number): string {
  const unit = bytes >= GIB ? GIB : 2 ** 20;
  return formatSize(Math.ceil(bytes / unit) * unit);
}

/** Errors: UsageError for a plan that needs more than there is. */
export function checkPlanSize(plan: WorkloadPlan): void {
  const { tablePages } = vmConfig(plan.vm);
  if (tablePages > TABLE_PAGES_MAX) {
    throw new UsageError(
      `a guest of this size needs ${roundedSize(tablePages * PAGE_BYTES)} of page tables; at most ${formatSize(TABLE_PAGES_MAX * PAGE_BYTES)} can be had`,
    );
  }
  const { arenaWords } = layoutPlan(plan, plan.controlWords);
  if (arenaWords >= ARENA_WORDS_MAX) {
    throw new UsageError(
      `a guest of this size needs ${roundedSize(4 * arenaWords)} for page tables, dirty bitmaps and the host's page tables; less than ${formatSize(4 * ARENA_WORDS_MAX)} can be had`,
    );
  }
}
