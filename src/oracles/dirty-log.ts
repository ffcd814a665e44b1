/**
 * Oracle: no dirty page is lost.
 *
 * Whatever the guest can write without being noticed must be marked in the log already: where the log watches W, a writable
 * leaf has its bit set; where it watches D, a writable leaf with D set has its bit set or waits in a page-modification log. And
 * where versions of contents are tracked, a page that is not as the VMM copied it last is still going to be reported.
 */
import { asGfn, type Gfn, PG_LEVEL_4K } from '../mmu/level.ts';
import { type Memslot, slotEnd, slotLogsDirty } from '../mmu/memslot.ts';
import { roleAsId, roleInvalid } from '../mmu/mmu-page.ts';
import { AdType, isWritable } from '../mmu/spte.ts';
import { isPresent } from '../vm/host-pte.ts';
import { pmlGfns } from '../vm/pml.ts';
import { type Findings, hex, type StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';
import { isLeafAt, type Position, walkTables, whereOf } from './table-walk.ts';
import { expectedAdType } from './tree.ts';

export const dirtyLogOracle: StateOracle = {
  name: 'dirty-log',
  help: 'every page that the guest wrote since it was reported last is still going to be reported',
  check(state, found) {
    const slots = state.slots.flat().filter((slot) => slotLogsDirty(slot) && slot.dirtyBitmap !== 0);
    if (slots.length === 0) return;
    walkTables(state, (at) => {
      if (at.level === PG_LEVEL_4K && isLeafAt(at) && !roleInvalid(at.rootRole)) checkLeaf(state, at, found);
    });
    if (state.options.sent !== undefined && state.space.frames.tracked) {
      for (const slot of slots) checkContents(state, slot, found);
    }
  },
};

const pmlCache = new WeakMap<QuiescentState, ReadonlySet<number>>();

/** Whether some vCPU has the gfn in its page-modification log. */
export function loggedByPml(state: QuiescentState, gfn: Gfn): boolean {
  let gfns = pmlCache.get(state);
  if (gfns === undefined) {
    gfns = new Set(state.areas.flatMap((area) => pmlGfns(state.memory, area)));
    pmlCache.set(state, gfns);
  }
  return gfns.has(gfn);
}

function checkLeaf(state: QuiescentState, at: Position, found: Findings): void {
  if (!isWritable(at.spte)) return;
  const slot = state.slotOf(roleAsId(at.rootRole), at.gfn);
  if (slot === null || !slotLogsDirty(slot) || slot.dirtyBitmap === 0 || state.isLogged(slot, at.gfn)) return;
  const { kvm } = state;
  const byDirtyBit = kvm.params.pml && expectedAdType(kvm, at.rootRole) === AdType.enabled;
  if (byDirtyBit && (!kvm.spte.isDirty(at.spte) || loggedByPml(state, at.gfn))) return;
  const rule = byDirtyBit ? 'dirty-not-logged' : 'writable-not-logged';
  const what = byDirtyBit ? 'is dirty and writable' : 'is writable';
  const where = { ...whereOf(at), slot: slot.id };
  found.report(rule, where, `gfn ${hex(at.gfn)}: ${at.spte} ${what}, but its bit in the log of memslot ${slot.id} is clear`);
}

function checkContents(state: QuiescentState, slot: Memslot, found: Findings): void {
  const region = state.region(slot);
  for (let gfn: number = slot.baseGfn; gfn < slotEnd(slot); gfn++) {
    const sent = state.options.sent?.(slot, asGfn(gfn));
    if (sent === undefined) continue;
    const page = state.hostPage(slot, asGfn(gfn));
    const pte = state.hostPte(region, page);
    // A page that the host dropped or moved has other contents now, which the guest did not write.
    if (!isPresent(pte) || state.space.pfn(region, page, pte) !== sent.pfn) continue;
    const version = state.load(state.space.frames.contentWord(sent.pfn));
    if (version === sent.version || state.isLogged(slot, asGfn(gfn)) || loggedByPml(state, asGfn(gfn))) continue;
    const versions = `at version ${version}, copied last at ${sent.version}`;
    const where = { asId: slot.asId, gfn, slot: slot.id, pfn: sent.pfn };
    found.report('lost-write', where, `gfn ${hex(gfn)} of memslot ${slot.id} is ${versions}, and will not be reported dirty`);
  }
}
