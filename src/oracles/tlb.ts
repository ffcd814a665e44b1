/**
 * Oracle: what a vCPU's processor caches is allowed by the SPTEs, or a flush of it is pending.
 *
 * A cached translation may have fewer rights than the SPTE has by now, and another page size. It may have more only where the
 * protocol lets it: aging without A/D bits takes all rights from an SPTE without a flush, so a stale entry may still write,
 * as long as no dirty log counts on it. Translations of a root that is not loaded are unreachable, since loading one flushes.
 */
import { Request } from '../machine/tlb-shootdown.ts';
import type { Word64 } from '../machine/word64.ts';
import { asGfn, type Gfn, type Level, PG_LEVEL_2M } from '../mmu/level.ts';
import { slotLogsDirty } from '../mmu/memslot.ts';
import { PageHeader, roleAsId, roleInvalid } from '../mmu/mmu-page.ts';
import { isLastSpte, isShadowPresent, isWritable, spteAdEnabled, sptePfn, spteToChildPage } from '../mmu/spte.ts';
import { pwcEntries } from '../vm/paging-structure-cache.ts';
import { type TlbEntry, tlbEntries } from '../vm/tlb.ts';
import { loggedByPml } from './dirty-log.ts';
import { type Findings, hex, type StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';

export const tlbOracle: StateOracle = {
  name: 'tlb',
  help: 'every cached translation and table is allowed by the SPTEs or has a flush pending',
  check(state, found) {
    for (let vcpu = 0; vcpu < state.areas.length; vcpu++) {
      if (flushPending(state, vcpu)) continue;
      checkTlb(state, vcpu, found);
      checkPwc(state, vcpu, found);
    }
  },
};

/** Whether the vCPU will forget everything before it runs the guest again. */
function flushPending(state: QuiescentState, vcpu: number): boolean {
  const root = state.currentRoot(vcpu);
  const requests = state.requests(vcpu);
  if (root === 0 || (requests & (1 << Request.tlbFlush)) !== 0) return true;
  // Dropping an obsolete root is followed by loading another one. Its page may be anything by now, if a rule was broken.
  return (requests & (1 << Request.freeObsoleteRoots)) !== 0 && roleInvalid(state.header(root, PageHeader.role));
}

function checkTlb(state: QuiescentState, vcpu: number, found: Findings): void {
  const { geometry } = state.kvm;
  const root = state.currentRoot(vcpu);
  for (const entry of tlbEntries(state.memory, geometry, state.areas[vcpu])) {
    if (entry.root !== root) continue;
    const end = entry.gfn + geometry.span(entry.level);
    eachSpte(state, { root, first: entry.gfn, end }, (spte, level, gfn) => {
      const wrong = objection(state, entry, spte, level, gfn);
      if (wrong === null) return true;
      const where = { vcpu, root, gfn, level, pfn: entry.pfn };
      const cached = `vCPU ${vcpu} caches gfn ${hex(entry.gfn)} (level ${entry.level}) as frame ${hex(entry.pfn)}`;
      found.report(wrong.rule, where, `${cached}, ${wrong.why}; no flush is pending`);
      return false;
    });
  }
}

interface Objection {
  readonly rule: string;
  readonly why: string;
}

/** What is wrong with a TLB entry, given the SPTE that maps `gfn`, which is in its range; null for nothing. */
function objection(state: QuiescentState, entry: TlbEntry, spte: Word64, level: Level, gfn: Gfn): Objection | null {
  const { kvm } = state;
  if (!isShadowPresent(spte)) return { rule: 'tlb-unmapped', why: `but the SPTE of gfn ${hex(gfn)} is ${spte}` };
  const pfn = sptePfn(spte) + (gfn - kvm.geometry.round(gfn, level));
  if (pfn !== entry.pfn + (gfn - entry.gfn)) return { rule: 'tlb-pfn', why: `but the SPTE maps gfn ${hex(gfn)} to ${hex(pfn)}` };
  const aged = kvm.spte.isAccessTracked(spte);
  const rights = aged ? kvm.spte.restoreAccessTrack(spte) : spte;
  if (entry.executable && !kvm.spte.isExecutable(rights)) return { rule: 'tlb-exec', why: `executable, but the SPTE is ${spte}` };
  if (!entry.writable) return null;
  const slot = state.slotOf(roleAsId(state.header(entry.root, PageHeader.role)), gfn);
  const logs = slot !== null && slotLogsDirty(slot) && slot.dirtyBitmap !== 0;
  const noted = logs && (state.isLogged(slot, gfn) || loggedByPml(state, gfn));
  if (!isWritable(spte)) {
    if (!aged || !kvm.spte.isMmuWritable(spte)) return { rule: 'tlb-write', why: `writable, but the SPTE is ${spte}` };
    if (logs && !noted) return { rule: 'tlb-write-unlogged', why: `writable since before it was aged, but its log bit is clear` };
  }
  // Where the dirty bit is what the log watches, a write by an entry that has it already tells nobody.
  if (entry.dirty && spteAdEnabled(spte) && kvm.params.pml && logs && !noted && !kvm.spte.isDirty(spte)) {
    return { rule: 'tlb-dirty', why: `dirty already, but the SPTE ${spte} and the log say that it is clean` };
  }
  return null;
}

interface GfnRange {
  readonly root: number;
  readonly first: Gfn;
  readonly end: number;
}

/** Calls `visit` for the last SPTE on the path to each part of the range, until it returns false. */
function eachSpte(state: QuiescentState, range: GfnRange, visit: (spte: Word64, level: Level, gfn: Gfn) => boolean): void {
  const { geometry, pages } = state.kvm;
  const table = (page: number, level: Level, first: Gfn, end: number): boolean => {
    for (let gfn = first; gfn < end; ) {
      const spte = state.load64(pages.sptep(page, geometry.index(gfn, level)));
      const next = geometry.round(gfn, level) + geometry.span(level);
      const child = spteToChildPage(spte);
      if (isShadowPresent(spte) && !isLastSpte(spte, level) && state.isPage(child)) {
        if (!table(child, level - 1, gfn, Math.min(next, end))) return false;
      } else if (!visit(spte, level, gfn)) {
        return false;
      }
      gfn = asGfn(next);
    }
    return true;
  };
  table(range.root, geometry.rootLevel, range.first, range.end);
}

/** The tables that the paging-structure cache knows must still hang where it says: it would not notice that they moved. */
function checkPwc(state: QuiescentState, vcpu: number, found: Findings): void {
  const { geometry } = state.kvm;
  const root = state.currentRoot(vcpu);
  for (const { root: tag, gfn, table } of pwcEntries(state.memory, geometry, state.areas[vcpu])) {
    if (tag !== root || tableAt(state, root, gfn) === table) continue;
    const where = { vcpu, root, gfn, page: table };
    found.report(
      'pwc-table',
      where,
      `vCPU ${vcpu} caches page ${table} as the table for gfn ${hex(gfn)}, which hangs there no more`,
    );
  }
}

/** The last-level table for `gfn`, or 0. */
function tableAt(state: QuiescentState, root: number, gfn: Gfn): number {
  const { geometry, pages } = state.kvm;
  let page = root;
  for (let level = geometry.rootLevel; level >= PG_LEVEL_2M; level--) {
    const spte = state.load64(pages.sptep(page, geometry.index(gfn, level)));
    if (!isShadowPresent(spte) || isLastSpte(spte, level)) return 0;
    page = spteToChildPage(spte);
    if (!state.isPage(page)) return 0;
  }
  return page;
}
