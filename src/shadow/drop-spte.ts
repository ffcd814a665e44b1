/**
 * Leaf SPTEs and their reverse mappings (kernel: rmap_add, drop_spte, gfn_to_rmap in arch/x86/kvm/mmu.c of 5.4).
 *
 * A present leaf is in the reverse map of its gfn at its level, and nothing else is: whoever makes or clears one does it here.
 */
import { invariant } from '../machine/invariant.ts';
import type { Address, Task } from '../machine/point.ts';
import { MmuCounter } from '../mmu/counters.ts';
import type { Kvm } from '../mmu/kvm.ts';
import type { Gfn, Level } from '../mmu/level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import { roleAsId } from '../mmu/mmu-page.ts';
import { isShadowPresentLeaf, type Spte } from '../mmu/spte.ts';
import { addVmStat, pagesStat } from '../mmu/vm-stat.ts';
import { readSpte } from '../mmu/write-spte.ts';
import type { Rmaps } from './rmap.ts';
import { RMAP_HEAD_WORDS } from './shadow-layout.ts';
import { gfnOfSptep, mmuSpteClearTrackBits, pageOfSptep } from './shadow-spte.ts';

/** Heads of the reverse maps of a slot at `level`: one for each page of that size that the slot touches. */
export function rmapHeads(kvm: Kvm, slot: Memslot, level: Level): number {
  const span = kvm.geometry.span(level);
  return Math.floor((slot.baseGfn + slot.npages - 1) / span) - Math.floor(slot.baseGfn / span) + 1;
}

/** The head of the reverse map of `gfn` at `level` (gfn_to_rmap). */
export function rmapHead(kvm: Kvm, slot: Memslot, gfn: Gfn, level: Level): Address {
  const span = kvm.geometry.span(level);
  const index = Math.floor(gfn / span) - Math.floor(slot.baseGfn / span);
  const base = slot.rmaps?.[level];
  invariant(base !== undefined, 'slot-without-rmap', `memslot ${slot.id} has no reverse map of level ${level}`);
  invariant(index >= 0 && index < rmapHeads(kvm, slot, level), 'rmap-outside-slot', `gfn ${gfn} is not in memslot ${slot.id}`);
  return (base + RMAP_HEAD_WORDS * index) as Address;
}

/** Adds the leaf at `sptep`, which was just made, to the reverse map of what it maps. */
export function* rmapAdd(kvm: Kvm, rmaps: Rmaps, slot: Memslot, gfn: Gfn, level: Level, sptep: Address): Task<void> {
  yield* rmaps.add(rmapHead(kvm, slot, gfn, level), sptep);
  yield* addVmStat(kvm, pagesStat(level), 1);
}

/**
 * Clears the present leaf at `sptep`, hands accessed and dirty over, and forgets its reverse mapping. Returns what was there.
 * The caller is in an SRCU section or holds slots_lock: the leaf's memslot must still be found.
 */
export function* dropSpte(kvm: Kvm, rmaps: Rmaps, sptep: Address): Task<Spte> {
  const role = kvm.pages.role(pageOfSptep(kvm, sptep));
  const level = kvm.pages.level(pageOfSptep(kvm, sptep));
  const gfn = gfnOfSptep(kvm, sptep);
  const old = yield* readSpte(kvm, sptep);
  invariant(isShadowPresentLeaf(old, level), 'drop-no-leaf', `${old} was dropped at gfn ${gfn}, level ${level}`);
  const seen = yield* mmuSpteClearTrackBits(kvm, sptep, old);
  kvm.counters[MmuCounter.leaves_zapped]++;
  const slot = yield* kvm.slots.find(kvm, roleAsId(role), gfn);
  invariant(slot !== null, 'rmap-without-slot', `gfn ${gfn} is mapped, but has no memslot`);
  yield* rmaps.remove(rmapHead(kvm, slot, gfn, level), sptep);
  yield* addVmStat(kvm, pagesStat(level), -1);
  return seen;
}
