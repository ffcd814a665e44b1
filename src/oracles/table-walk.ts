/**
 * Walks over page tables that hold still, for oracles: every entry that is not empty, in pre-order, whatever it holds.
 *
 * The tables may be broken, so nothing is trusted: a page is entered once, and only one that exists.
 */
import { type Address, own } from '../machine/point.ts';
import { Word64 } from '../machine/word64.ts';
import { asGfn, type Gfn, type Level, PG_LEVEL_4K } from '../mmu/level.ts';
import { PageHeader } from '../mmu/mmu-page.ts';
import { isLastSpte, isShadowPresent, spteToChildPage } from '../mmu/spte.ts';
import type { Where } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';

/** An entry, and where in which tree it is. The walk uses one object for all of its entries. */
export interface Position {
  root: number;
  /** The root's role word: it says whether the root is invalid. */
  rootRole: number;
  /** The table that the entry is in. */
  page: number;
  index: number;
  sptep: Address;
  /** First gfn that the entry maps. */
  gfn: Gfn;
  level: Level;
  spte: Word64;
}

export function whereOf(at: Position): Where {
  return { root: at.root, asId: (at.rootRole >>> 4) & 15, gfn: at.gfn, level: at.level, word: at.sptep, page: at.page };
}

/** Whether the entry links a table. */
export function isTableAt(at: Position): boolean {
  return isShadowPresent(at.spte) && !isLastSpte(at.spte, at.level);
}

/** Whether the entry maps memory. */
export function isLeafAt(at: Position): boolean {
  return isShadowPresent(at.spte) && isLastSpte(at.spte, at.level);
}

/**
 * Calls `visit` for each entry below the roots on the list that is not empty. Returns, for each page-table page, how often it
 * was found: as a root or linked by an entry. Without `visit` only tables are looked for.
 */
export function walkTables(state: QuiescentState, visit: ((at: Position) => void) | null): Uint8Array {
  const found = new Uint8Array(state.kvm.allocator.pages);
  for (const root of state.roots()) {
    found[root]++;
    if (found[root] === 1) walkRoot(state, root, found, visit);
  }
  return found;
}

function walkRoot(state: QuiescentState, root: number, found: Uint8Array, visit: ((at: Position) => void) | null): void {
  const { geometry, pages, spte: format, memory } = { ...state.kvm, memory: state.memory };
  const { nonpresent } = format;
  const at: Position = {
    root,
    rootRole: state.header(root, PageHeader.role),
    page: root,
    index: 0,
    sptep: 0 as Address,
    gfn: asGfn(0),
    level: geometry.rootLevel,
    spte: nonpresent,
  };
  const table = (page: number, base: number, level: Level): void => {
    if (visit === null && level === PG_LEVEL_4K) return;
    for (let index = 0; index < geometry.entries; index++) {
      const sptep = pages.sptep(page, index);
      const lo = memory.load32(own(sptep));
      const hi = memory.load32(own((sptep + 1) as Address));
      if (lo === nonpresent.lo && hi === nonpresent.hi) continue;
      const spte = new Word64(lo, hi);
      at.page = page;
      at.index = index;
      at.sptep = sptep;
      at.gfn = asGfn(base + index * geometry.span(level));
      at.level = level;
      at.spte = spte;
      visit?.(at);
      if (!isShadowPresent(spte) || isLastSpte(spte, level)) continue;
      const child = spteToChildPage(spte);
      if (!state.isPage(child)) continue;
      if (found[child] < 255) found[child]++;
      if (found[child] === 1) table(child, base + index * geometry.span(level), level - 1);
    }
  };
  table(root, 0, geometry.rootLevel);
}
