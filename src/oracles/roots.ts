/**
 * Oracle: the list of roots is well formed, and every reference to a root has an owner.
 *
 * A root's references are its vCPUs' (current and cached ones), the MMU's own while the root is valid (since 6.4), and that
 * same reference in the zapper's hands once the root is invalidated. An invalidated root that was zapped is empty.
 */
import { PageState } from '../machine/page-allocator.ts';
import { Request } from '../machine/tlb-shootdown.ts';
import { KvmWord } from '../mmu/kvm.ts';
import { PageHeader, roleInvalid, roleLevel } from '../mmu/mmu-page.ts';
import { isShadowPresent } from '../mmu/spte.ts';
import { type Findings, hex, type StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';
import { walkTables } from './table-walk.ts';

export const rootsOracle: StateOracle = {
  name: 'roots',
  help: 'the list of roots is well formed, one valid root a role, and references equal their owners',
  check(state, found) {
    checkList(state, found);
    const holders = holdersOf(state, found);
    const valid = new Map<number, number>();
    for (const root of state.roots()) {
      const role = state.header(root, PageHeader.role);
      const scheduled = state.header(root, PageHeader.scheduledRootToZap) !== 0;
      if (!roleInvalid(role)) {
        const twin = valid.get(role);
        if (twin !== undefined) {
          found.report('two-valid-roots', { root }, `roots ${twin} and ${root} are both valid and have role ${hex(role)}`);
        }
        valid.set(role, root);
        if (scheduled) found.report('scheduled-valid', { root }, `root ${root} is valid, but is to be zapped`);
      }
      const ownRef = roleInvalid(role) ? scheduled : !state.kvm.generation.zapRootOnLastPut;
      checkReferences(state, found, { root, held: holders.get(root) ?? 0, ownRef });
    }
    checkInvalidEmpty(state, found);
  },
};

function checkList(state: QuiescentState, found: Findings): void {
  const { kvm } = state;
  const seen = new Set<number>();
  for (let root = state.load(kvm.word(KvmWord.roots)); root !== 0; root = state.header(root, PageHeader.rootNext)) {
    if (!state.isPage(root) || seen.has(root)) {
      found.report('root-list', { root }, `the list of roots ${seen.has(root) ? 'comes back' : 'leads'} to page ${root}`);
      return;
    }
    seen.add(root);
    const role = state.header(root, PageHeader.role);
    if (state.pageState(root) !== PageState.live) found.report('root-not-live', { root }, `root ${root} is listed, but not live`);
    if (roleLevel(role) !== kvm.geometry.rootLevel) {
      found.report('root-level', { root }, `root ${root} has level ${roleLevel(role)}, not ${kvm.geometry.rootLevel}`);
    }
    if (state.header(root, PageHeader.ptep) !== 0) found.report('root-linked', { root }, `root ${root} is linked by an SPTE`);
  }
}

/** How many references vCPUs hold to each root. */
function holdersOf(state: QuiescentState, found: Findings): ReadonlyMap<number, number> {
  const holders = new Map<number, number>();
  const listed = state.roots();
  const { vcpuRoots } = state.options;
  for (let vcpu = 0; vcpu < state.areas.length; vcpu++) {
    const roots = (vcpuRoots?.(vcpu) ?? [state.currentRoot(vcpu)]).filter((root) => root !== 0);
    for (const root of roots) {
      holders.set(root, (holders.get(root) ?? 0) + 1);
      if (!listed.includes(root)) {
        found.report('root-gone', { root, vcpu }, `vCPU ${vcpu} holds root ${root}, which is not on the list of roots`);
        continue;
      }
      const asked = (state.requests(vcpu) & (1 << Request.freeObsoleteRoots)) !== 0;
      if (roleInvalid(state.header(root, PageHeader.role)) && !asked) {
        found.report(
          'obsolete-root-kept',
          { root, vcpu },
          `vCPU ${vcpu} keeps the invalid root ${root}, and nobody asks it not to`,
        );
      }
    }
  }
  return holders;
}

interface References {
  readonly root: number;
  /** By vCPUs. */
  readonly held: number;
  /** Whether the MMU, or a zapper to come, has one. */
  readonly ownRef: boolean;
}

function checkReferences(state: QuiescentState, found: Findings, { root, held, ownRef }: References): void {
  const count = state.header(root, PageHeader.rootCount);
  const expected = held + (ownRef ? 1 : 0);
  // Whoever puts the last reference takes the root off the list.
  if (count === 0 && expected === 0) {
    found.report('root-unreferenced', { root }, `root ${root} is on the list of roots, but has no references`);
  }
  if (count === expected) return;
  const who = `${held} vCPUs${ownRef ? ' and the MMU' : ''}`;
  const rule = count > expected ? 'reference-leaked' : 'reference-missing';
  found.report(rule, { root }, `root ${root} has ${count} references, but ${who} hold one each`);
}

function checkInvalidEmpty(state: QuiescentState, found: Findings): void {
  const reported = new Set<number>();
  if (!state.roots().some((root) => roleInvalid(state.header(root, PageHeader.role)))) return;
  walkTables(state, (at) => {
    if (!roleInvalid(at.rootRole) || !isShadowPresent(at.spte) || reported.has(at.root)) return;
    if (state.header(at.root, PageHeader.scheduledRootToZap) !== 0) return;
    reported.add(at.root);
    const where = { root: at.root, gfn: at.gfn, level: at.level, word: at.sptep };
    found.report('invalid-root-not-empty', where, `root ${at.root} was invalidated and zapped, but maps gfn ${hex(at.gfn)}`);
  });
}
