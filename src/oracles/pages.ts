/**
 * Oracle: every page-table page is in exactly one place: linked in a tree, in a thread's hands, waiting for a grace period, or
 * free. Free ones still hold their poison, so whoever wrote to one after it was freed is found.
 */
import { PageState, PageWord } from '../machine/page-allocator.ts';
import type { Address } from '../machine/point.ts';
import { equal64 } from '../machine/word64.ts';
import { isShadowPresent } from '../mmu/spte.ts';
import type { Findings, StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';
import { walkTables } from './table-walk.ts';

const STATES = ['free', 'cached', 'live', 'waiting for a grace period'];

export const pagesOracle: StateOracle = {
  name: 'pages',
  help: 'every page-table page is reachable, cached, queued for RCU or free, exactly once; free pages are untouched',
  check(state, found) {
    const { allocator, rcu } = state.kvm;
    const linked = walkTables(state, null);
    const free = listOf(state, state.load(allocator.freeHead), 'free list', found);
    const queued = listOf(state, state.load(rcu.head), 'RCU queue', found);
    const cached = state.options.cachedPages === undefined ? null : [...state.options.cachedPages];
    const inHand = new Set(cached);
    if (cached !== null && inHand.size !== cached.length) found.report('cached-twice', {}, 'two threads have one page in hand');
    const watermark = state.load(allocator.watermark);
    let used = 0;
    for (let page = 1; page < allocator.pages; page++) {
      const at = state.pageState(page);
      if (at !== PageState.free) used++;
      const places = [];
      if (linked[page] > 0) places.push('linked in a tree');
      if (free.has(page)) places.push('on the free list');
      if (queued.has(page)) places.push('in the RCU queue');
      if (inHand.has(page)) places.push('in a cache');
      if (places.length > 1) found.report('two-places', { page }, `page ${page} is ${places.join(' and ')}`);
      checkPlace(state, found, { page, at, places, fresh: page > watermark, cachesKnown: cached !== null });
      if (free.has(page) && at === PageState.free) checkPoison(state, page, found);
      if (at === PageState.cached) checkEmpty(state, page, found);
      if (queued.has(page)) checkRemoved(state, page, found);
    }
    const counted = state.load(allocator.used);
    if (counted !== used) found.report('recount', {}, `the allocator counts ${counted} pages in use, but there are ${used}`);
  },
};

/** The pages of a list through the descriptors. */
function listOf(state: QuiescentState, head: number, name: string, found: Findings): ReadonlySet<number> {
  const { allocator } = state.kvm;
  const pages = new Set<number>();
  for (let page = head; page !== 0; page = state.load(allocator.word(page, PageWord.next))) {
    if (!state.isPage(page)) {
      found.report('list', { page }, `the ${name} leads to page ${page}, which does not exist`);
      break;
    }
    if (pages.has(page)) {
      found.report('list', { page }, `the ${name} comes back to page ${page}`);
      break;
    }
    pages.add(page);
  }
  return pages;
}

interface Place {
  readonly page: number;
  readonly at: PageState;
  readonly places: readonly string[];
  /** Whether the page was never handed out. */
  readonly fresh: boolean;
  readonly cachesKnown: boolean;
}

function checkPlace(state: QuiescentState, found: Findings, { page, at, places, fresh, cachesKnown }: Place): void {
  let expected = 'nowhere';
  if (at === PageState.live) expected = 'linked in a tree';
  else if (at === PageState.rcu) expected = 'in the RCU queue';
  else if (at === PageState.free) expected = fresh ? 'nowhere' : 'on the free list';
  else if (cachesKnown) expected = 'in a cache';
  const seen = places[0] ?? 'nowhere';
  if (seen === expected) return;
  const owner = state.load(state.kvm.allocator.word(page, PageWord.owner)) - 1;
  const rule = seen === 'nowhere' ? 'leak' : 'page-state';
  const by = owner >= 0 ? `, since thread ${owner}` : '';
  found.report(
    rule,
    { page, thread: owner },
    `page ${page} is ${STATES[at] ?? at}${by}: it should be ${expected}, and is ${seen}`,
  );
}

function checkPoison(state: QuiescentState, page: number, found: Findings): void {
  const { pages, geometry, allocator } = state.kvm;
  for (let i = 0; i < geometry.entries; i++) {
    const word: Address = pages.sptep(page, i);
    const seen = state.load64(word);
    if (equal64(seen, allocator.poison)) continue;
    found.report('use-after-free', { page, word }, `entry ${i} of the free page ${page} was written after it was freed: ${seen}`);
    return;
  }
}

/** A page in a cache is an empty table, ready to be linked. */
function checkEmpty(state: QuiescentState, page: number, found: Findings): void {
  const { pages, geometry, allocator } = state.kvm;
  for (let i = 0; i < geometry.entries; i++) {
    const word: Address = pages.sptep(page, i);
    const seen = state.load64(word);
    if (equal64(seen, allocator.initial)) continue;
    found.report('cached-not-empty', { page, word }, `entry ${i} of page ${page}, which is not linked, holds ${seen}`);
    return;
  }
}

/** A table that was removed maps nothing: its entries were frozen, or empty, when it was queued. */
function checkRemoved(state: QuiescentState, page: number, found: Findings): void {
  const { pages, geometry } = state.kvm;
  for (let i = 0; i < geometry.entries; i++) {
    const word: Address = pages.sptep(page, i);
    const seen = state.load64(word);
    if (!isShadowPresent(seen)) continue;
    found.report(
      'removed-not-empty',
      { page, word },
      `entry ${i} of page ${page}, which was removed from its tree, holds ${seen}`,
    );
    return;
  }
}
