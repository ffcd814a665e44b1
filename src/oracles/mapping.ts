/**
 * Oracle: every leaf of a valid root maps what its memslot and the host say.
 *
 * Whoever changes the memslots or the host's page table zaps what no longer holds before it is done (memslot updates, the MMU
 * notifier), so in a quiescent state a leaf has a slot, the slot's geometry allows its level, and its frame is the host's.
 * The host may have gained since: a larger page, or write access, which only the next fault finds.
 */
import { type Level, PG_LEVEL_4K } from '../mmu/level.ts';
import { type Memslot, SlotFlag, slotAllowsLevel, slotLogsDirty } from '../mmu/memslot.ts';
import { roleAsId, roleInvalid } from '../mmu/mmu-page.ts';
import { isWritable as isWritableSpte, MMIO_GEN_BITS, sptePfn } from '../mmu/spte.ts';
import { isHuge, isPresent, isWritable } from '../vm/host-pte.ts';
import { type Findings, hex, type StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';
import { isLeafAt, type Position, walkTables, whereOf } from './table-walk.ts';

export const mappingOracle: StateOracle = {
  name: 'mapping',
  help: 'every leaf of a valid root maps what its memslot and the host say, with no more rights than they give',
  check(state, found) {
    walkTables(state, (at) => {
      if (roleInvalid(at.rootRole)) return;
      if (state.kvm.spte.isMmio(at.spte)) checkMmio(state, at, found);
      else if (isLeafAt(at)) checkLeaf(state, at, found);
    });
  },
};

const place = (at: Position): string => `level ${at.level}, gfn ${hex(at.gfn)}, root ${at.root}`;

/** An MMIO SPTE of an older generation is ignored by the fault handler; one of the current generation is believed. */
function checkMmio(state: QuiescentState, at: Position, found: Findings): void {
  const current = state.vm.slots.sets[0].currentGeneration() % 2 ** MMIO_GEN_BITS;
  if (state.kvm.spte.mmioGeneration(at.spte) !== current) return;
  const slot = state.slotOf(roleAsId(at.rootRole), at.gfn);
  if (slot === null) return;
  found.report(
    'mmio-over-slot',
    { ...whereOf(at), slot: slot.id },
    `${place(at)}: MMIO SPTE ${at.spte} hides memslot ${slot.id}`,
  );
}

/** Reports a violation at the position, in the words `why`. */
type Wrong = (rule: string, why: string) => void;

function checkLeaf(state: QuiescentState, at: Position, found: Findings): void {
  const { geometry } = state.kvm;
  const slot = state.slotOf(roleAsId(at.rootRole), at.gfn);
  const wrong: Wrong = (rule, why) => {
    const where = { ...whereOf(at), pfn: sptePfn(at.spte), ...(slot === null ? {} : { slot: slot.id }) };
    found.report(rule, where, `${place(at)}: the leaf ${at.spte} ${why}`);
  };
  if (slot === null) {
    wrong('no-slot', 'maps memory, but no memslot is there');
    return;
  }
  if ((slot.flags & SlotFlag.invalid) !== 0) wrong('invalid-slot', `is in memslot ${slot.id}, which is invalid`);
  if (at.level > PG_LEVEL_4K && !slotAllowsLevel(slot, geometry, at.gfn, at.level)) {
    wrong('slot-level', `is larger than memslot ${slot.id} allows there`);
    return;
  }
  checkHost(state, at, slot, wrong);
  checkWritable(state, at, slot, wrong);
}

/** The leaf against the host's page table. */
function checkHost(state: QuiescentState, at: Position, slot: Memslot, wrong: Wrong): void {
  const region = state.region(slot);
  const page = state.hostPage(slot, at.gfn);
  const pte = page < region.pages ? state.hostPte(region, page) : 0;
  if (!isPresent(pte)) {
    wrong('host-unmapped', `maps page ${page} of ${region.name}, which the host does not`);
    return;
  }
  const hostLevel: Level = isHuge(pte) ? region.hugeLevel : PG_LEVEL_4K;
  if (at.level > hostLevel) wrong('host-level', `maps page ${page} of ${region.name}, which the host has at level ${hostLevel}`);
  const pfn = state.space.pfn(region, page, pte);
  if (pfn !== sptePfn(at.spte)) {
    wrong('stale-pfn', `maps frame ${hex(sptePfn(at.spte))}; the host has page ${page} of ${region.name} in frame ${hex(pfn)}`);
  }
  if (state.kvm.spte.isHostWritable(at.spte) && !isWritable(pte)) {
    wrong('host-readonly', 'is host-writable, but the host maps the page read-only');
  }
}

/** The leaf's write access against the slot's flags, its dirty log and write tracking. */
function checkWritable(state: QuiescentState, at: Position, slot: Memslot, wrong: Wrong): void {
  const { kvm } = state;
  const writable = isWritableSpte(at.spte);
  if ((slot.flags & SlotFlag.readonly) !== 0 && (writable || kvm.spte.isHostWritable(at.spte))) {
    wrong('readonly-slot', `is writable in the read-only memslot ${slot.id}`);
  }
  if (writable && at.level > PG_LEVEL_4K && slotLogsDirty(slot) && !mayBeWritableHuge(state, at, slot)) {
    wrong('huge-in-dirty-log', `is huge and writable, though memslot ${slot.id} logs dirty pages`);
  }
  if (state.trackedGfns.size === 0 || (!writable && !kvm.spte.isMmuWritable(at.spte))) return;
  for (const gfn of state.trackedGfns) {
    if (gfn < at.gfn || gfn >= at.gfn + kvm.geometry.span(at.level)) continue;
    wrong('write-tracked', `can be written or made writable, but gfn ${hex(gfn)} is tracked`);
  }
}

/**
 * In initially-set mode nothing is protected when the log begins, so a huge page stays writable until CLEAR names one of its
 * pages: as long as all of them are reported dirty anyway, no write can be missed.
 */
function mayBeWritableHuge(state: QuiescentState, at: Position, slot: Memslot): boolean {
  if (!state.kvm.params.initiallySet || slot.dirtyBitmap === 0) return false;
  const end = at.gfn + state.kvm.geometry.span(at.level);
  for (let gfn: number = at.gfn; gfn < end; gfn++) {
    if (!state.isLogged(slot, gfn as typeof at.gfn)) return false;
  }
  return true;
}
