/**
 * Guests that are larger than what can be modelled of them at a time: their page tables are kept for what is touched.
 *
 * A plan has room for page tables of the whole guest. Where that is more than an arena holds, the room is cut to what fits, as long
 * as it suffices to map all memory in the pages that the host has: terabytes on 1G pages take a few tables.
 */
import { layoutPlan } from '../engines/plan.ts';
import { PAGE_DESCRIPTOR_WORDS } from '../machine/page-allocator.ts';
import { spanOf, VM_DEFAULTS, vmConfig } from '../vm/vm-config.ts';
import { VmLayout } from '../vm/vm-layout.ts';
import { formatSize, PAGE_BYTES } from '../workloads/size.ts';
import { UsageError } from '../workloads/usage-error.ts';
import type { WorkloadPlan } from '../workloads/workload.ts';

/** Arenas are smaller, in 32-bit words: 8 GiB. */
const ARENA_WORDS_MAX = 2 ** 31;
/** The most that dirty bitmaps and host page tables get of it. */
const HEAP_WORDS_MAX = 2 ** 29;

/** A plan that fits, and what is to be said about it. Errors: UsageError where the workload would run out of tables. */
export function fitted(plan: WorkloadPlan): { plan: WorkloadPlan; notes: string[] } {
  const wanted = layoutPlan(plan, plan.controlWords).arenaWords;
  if (wanted < ARENA_WORDS_MAX) return { plan, notes: [] };
  const tablePages = plan.vm.tablePages ?? VM_DEFAULTS.tablePages;
  const { heapWords } = new VmLayout(vmConfig(plan.vm));
  const cut = { ...plan, vm: { ...plan.vm, heapWords: Math.min(heapWords, HEAP_WORDS_MAX) } };
  const entries = plan.vm.entries ?? VM_DEFAULTS.entries;
  const wordsPerTable = 2 * entries + PAGE_DESCRIPTOR_WORDS;
  const excess = layoutPlan(cut, plan.controlWords).arenaWords - ARENA_WORDS_MAX;
  const left = tablePages - Math.ceil((Math.max(0, excess) + 1) / wordsPerTable) - 1;
  const needed = tablesAtLeast(plan);
  if (left < needed) {
    const bytes = (n: number): string => formatSize(Math.ceil((n * PAGE_BYTES) / 2 ** 30) * 2 ** 30);
    throw new UsageError(
      `a guest of this size needs at least ${bytes(needed)} of page tables; less than ${bytes(ARENA_WORDS_MAX / 1024)} can be had: back it with larger pages, or give less memory`,
    );
  }
  const fits = { ...cut, vm: { ...cut.vm, tablePages: left } };
  return {
    plan: fits,
    notes: [`there is room for ${left.toLocaleString('en-US')} page tables: not for all of the guest in 4K pages`],
  };
}

/**
 * Tables that map what is touched of all memory, in pages of the size that the host has for it, the upper levels included.
 * A guest that touches less than one page of each table has a path of tables for each.
 */
function tablesAtLeast({ vm, options }: WorkloadPlan): number {
  const config = vmConfig(vm);
  const step = typeof options.stride === 'number' ? options.stride / PAGE_BYTES : 1;
  return config.memory.reduce((sum, { type, pages }) => {
    const span = type === '4k' ? config.entries : spanOf(config, type) * config.entries;
    const upper = Math.ceil(pages / (span * config.entries));
    return sum + Math.min(Math.ceil(pages / span), Math.ceil(pages / step)) + 2 * upper;
  }, 0);
}
