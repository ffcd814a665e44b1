/**
 * Oracle: the VM's statistics equal a recount (kvm_update_page_stats, tdp_account_mmu_page, the NX list).
 */

import { MmuCounter } from '../mmu/counters.ts';
import { KvmWord } from '../mmu/kvm.ts';
import { MAX_HUGEPAGE_LEVEL } from '../mmu/level.ts';
import { PageHeader } from '../mmu/mmu-page.ts';
import { pagesStat, VmStat, vmStat } from '../mmu/vm-stat.ts';
import { memslotPages } from '../vm/set-memory-region.ts';
import type { Findings, StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';
import { isLeafAt, isTableAt, walkTables } from './table-walk.ts';

const PAGE_STATS = ['pages_4k', 'pages_2m', 'pages_1g'];

export const statisticsOracle: StateOracle = {
  name: 'statistics',
  help: 'pages_4k, pages_2m, pages_1g, tdp_mmu_pages, nx_lpage_splits and the number of roots equal a recount',
  check(state, found) {
    const leaves = new Array<number>(MAX_HUGEPAGE_LEVEL + 1).fill(0);
    let tables = 0;
    walkTables(state, (at) => {
      if (isTableAt(at)) tables++;
      else if (isLeafAt(at) && at.level <= MAX_HUGEPAGE_LEVEL) leaves[at.level]++;
    });
    const compare = (name: string, counted: number, recounted: number): void => {
      if (counted !== recounted) found.report('recount', {}, `${name} is ${counted}, but there are ${recounted}`);
    };
    for (let level = 1; level <= MAX_HUGEPAGE_LEVEL; level++) {
      compare(PAGE_STATS[level - 1], vmStat(state.kvm, pagesStat(level)), leaves[level]);
    }
    compare('tdp_mmu_pages', vmStat(state.kvm, VmStat.tdpMmuPages), tables);
    compare('nx_lpage_splits', vmStat(state.kvm, VmStat.nxLpageSplits), checkNxList(state, found));
    const { counter } = state.options;
    if (counter !== undefined) compare('tdp_mmu_roots', counter(MmuCounter.tdp_mmu_roots), state.roots().length);
    const pages = state.slots.flat().reduce((sum, slot) => sum + slot.npages, 0);
    compare('nr_memslot_pages', memslotPages(state.vm), pages);
    const logging = state.slots.flat().filter((slot) => (slot.flags & 1) !== 0).length;
    compare('nr_memslots_dirty_logging', state.load(state.kvm.word(KvmWord.dirtyLogging)), logging);
  },
};

/** Checks the list of possible NX huge pages and returns its length. */
function checkNxList(state: QuiescentState, found: Findings): number {
  if (state.load(state.kvm.word(KvmWord.nxPages)) === 0) return checkNxTail(state, found, 0);
  const linked = walkTables(state, null);
  const seen = new Set<number>();
  let previous = 0;
  for (let page = state.load(state.kvm.word(KvmWord.nxPages)); page !== 0; page = state.header(page, PageHeader.nxNext)) {
    if (!state.isPage(page) || seen.has(page)) {
      found.report('nx-list', { page }, `the NX list comes ${seen.has(page) ? 'back' : ''} to page ${page}`);
      return seen.size;
    }
    seen.add(page);
    if (state.header(page, PageHeader.nxPrev) !== previous) {
      found.report('nx-list', { page }, `page ${page} of the NX list does not point back to page ${previous}`);
    }
    if (state.header(page, PageHeader.nxHugePageDisallowed) === 0) {
      found.report('nx-flag', { page }, `page ${page} is on the NX list, but its flag is clear`);
    }
    if (linked[page] === 0) found.report('nx-unlinked', { page }, `page ${page} is on the NX list, but no SPTE links it`);
    previous = page;
  }
  checkNxTail(state, found, previous);
  return seen.size;
}

function checkNxTail(state: QuiescentState, found: Findings, last: number): number {
  const tail = state.load(state.kvm.word(KvmWord.nxPagesTail));
  if (tail !== last) found.report('nx-list', { page: tail }, `the NX list ends at page ${last}, its tail says ${tail}`);
  return 0;
}
