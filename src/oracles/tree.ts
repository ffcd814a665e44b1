/**
 * Oracle: every tree is well formed. Entries hold values that KVM makes, tables hang where their headers say, none twice.
 *
 * Protocol: the bit layout of `spte.ts` (make_spte, make_nonleaf_spte, check_spte_writable_invariants).
 */
import { PageState } from '../machine/page-allocator.ts';
import { equal64 } from '../machine/word64.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { MAX_HUGEPAGE_LEVEL, PG_LEVEL_4K } from '../mmu/level.ts';
import { childRole, PageHeader, roleAdDisabled, roleGuestMode, roleInvalid, roleLevel } from '../mmu/mmu-page.ts';
import { AdType, isLargeSpte, isShadowPresent, isWritable, sptePfn, spteToChildPage } from '../mmu/spte.ts';
import { type Findings, hex, type StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';
import { isTableAt, type Position, walkTables, whereOf } from './table-walk.ts';

/** Bits 52-53, in the high half. */
const AD_TYPE = 3 << 20;

export const treeOracle: StateOracle = {
  name: 'tree',
  help: 'every table is linked once, where its header says, and every SPTE holds a value that KVM makes',
  check(state, found) {
    const links = walkTables(state, (at) => {
      if (!isShadowPresent(at.spte)) checkNonPresent(state, at, found);
      else if (isTableAt(at)) checkTable(state, at, found);
      else checkLeaf(state, at, found);
    });
    for (let page = 1; page < links.length; page++) {
      if (links[page] > 1) found.report('linked-twice', { page }, `page-table page ${page} is linked ${links[page]} times`);
    }
  },
};

const place = (at: Position): string => `level ${at.level}, gfn ${hex(at.gfn)}, root ${at.root}`;

function checkNonPresent({ kvm }: QuiescentState, at: Position, found: Findings): void {
  if (kvm.spte.isFrozen(at.spte) || kvm.spte.isMmio(at.spte)) return;
  found.report('nonpresent-value', whereOf(at), `${place(at)}: ${at.spte} is neither present, empty, frozen nor MMIO`);
}

function checkTable(state: QuiescentState, at: Position, found: Findings): void {
  const { kvm } = state;
  const where = whereOf(at);
  const child = spteToChildPage(at.spte);
  if (!state.isPage(child) || sptePfn(at.spte) !== child) {
    found.report('table-pfn', where, `${place(at)}: ${at.spte} links page ${sptePfn(at.spte)}, which is no page-table page`);
    return;
  }
  const role = state.header(child, PageHeader.role);
  if (!equal64(at.spte, kvm.spte.makeNonleaf(child, roleAdDisabled(at.rootRole)))) {
    found.report('table-bits', where, `${place(at)}: ${at.spte} (${kvm.spte.describe(at.spte)}) is no link to a table`);
  }
  if (state.pageState(child) !== PageState.live) {
    found.report('table-not-live', { ...where, page: child }, `${place(at)}: links page ${child}, which is not live`);
    return;
  }
  const expected = childRole(state.header(at.page, PageHeader.role));
  if (role !== expected) {
    const what =
      roleLevel(role) === at.level - 1 ? `has role ${hex(role)}, not ${hex(expected)}` : `has level ${roleLevel(role)}`;
    found.report('table-role', { ...where, page: child }, `${place(at)}: page ${child} below it ${what}`);
  }
  if (state.loadGfn(kvm.pages.word(child, PageHeader.gfn)) !== at.gfn) {
    const gfn = state.loadGfn(kvm.pages.word(child, PageHeader.gfn));
    found.report('table-gfn', { ...where, page: child }, `${place(at)}: page ${child} is for gfn ${hex(gfn)}`);
  }
  if (state.header(child, PageHeader.ptep) !== at.sptep) {
    found.report('table-ptep', { ...where, page: child }, `${place(at)}: page ${child} says that another SPTE links it`);
  }
}

/** The A/D type of leaves below a root. */
export function expectedAdType(kvm: Kvm, role: number): AdType {
  if (roleAdDisabled(role)) return AdType.disabled;
  return roleGuestMode(role) && kvm.params.pml ? AdType.writeProtectOnly : AdType.enabled;
}

function checkLeaf({ kvm }: QuiescentState, at: Position, found: Findings): void {
  const { spte, level } = at;
  const wrong = (rule: string, why: string): void => {
    found.report(rule, whereOf(at), `${place(at)}: ${spte} (${kvm.spte.describe(spte)}) ${why}`);
  };
  if (level > MAX_HUGEPAGE_LEVEL) wrong('huge-level', 'maps memory at a level without huge pages');
  if (isLargeSpte(spte) !== level > PG_LEVEL_4K) wrong('huge-bit', 'has the huge bit wrong');
  if (!kvm.geometry.aligned(sptePfn(spte), level)) wrong('pfn-alignment', 'maps a frame that is not aligned to the page');
  if (isWritable(spte) && !kvm.spte.isMmuWritable(spte)) wrong('writable-bits', 'is writable, not MMU-writable');
  if (kvm.spte.isMmuWritable(spte) && !kvm.spte.isHostWritable(spte)) {
    wrong('writable-bits', 'is MMU-writable, not host-writable');
  }
  if (!kvm.spte.isReadable(spte) && !kvm.spte.isAccessTracked(spte)) {
    wrong('leaf-bits', 'is neither readable nor access-tracked');
  }
  if ((spte.hi & AD_TYPE) !== expectedAdType(kvm, at.rootRole)) wrong('ad-type', 'has another kind of A/D bits than its root');
  // The switch is thrown with all roots made obsolete, so the new ones hold to it.
  if (level > PG_LEVEL_4K && kvm.params.nxHugePages && kvm.spte.isExecutable(spte) && !roleInvalid(at.rootRole)) {
    wrong('nx-huge-executable', 'is an executable huge page, which nx_huge_pages forbids');
  }
}
