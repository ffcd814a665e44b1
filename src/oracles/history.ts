/**
 * The history of what a violation is about: by the address space, gfn and level that it names, or else those of its word.
 */
import { PageHeader, roleAsId, roleLevel } from '../mmu/mmu-page.ts';
import type { Where } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';

/** `where` with address space, gfn and level, as far as the page-table page that holds its word tells them. */
export function locate(state: QuiescentState, where: Where): Where {
  const { kvm } = state;
  const { pages, geometry } = kvm;
  if (where.word === undefined || (where.gfn !== undefined && where.level !== undefined)) return where;
  const tableWords = 2 * geometry.entries;
  const page = Math.floor((where.word - pages.sptep(0, 0)) / tableWords);
  if (!state.isPage(page)) return where;
  const role = state.header(page, PageHeader.role);
  const level = roleLevel(role);
  // A page that was never part of a tree has no place in one.
  if (level < 1) return where;
  const index = Math.floor((where.word - pages.sptep(page, 0)) / 2);
  const gfn = state.loadGfn(pages.word(page, PageHeader.gfn)) + index * geometry.span(level);
  return { asId: roleAsId(role), gfn, level, ...where };
}
