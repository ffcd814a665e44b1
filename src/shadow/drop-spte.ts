/**
 * Leaf SPTEs of the rmap-based MMU and their reverse mappings (kernel: rmap_add, drop_spte, mmu_spte_clear_track_bits,
 * gfn_to_rmap).
 */
import { invariant } from '../machine/invariant.ts';
import { type Address, rmw, type Task } from '../machine/point.ts';
import { MmuCounter } from '../mmu/counters.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Level } from '../mmu/level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import { roleAsId } from '../mmu/mmu-page.ts';
import { isShadowPresent, type Spte, sptePfn } from '../mmu/spte.ts';
import { addVmStat, pagesStat } from '../mmu/vm-stat.ts';
import type { Rmaps } from './rmap.ts';
import { RMAP_HEAD_WORDS } from './shadow-layout.ts';

/** The page that holds the SPTE at `sptep` (sptep_to_sp). */
export function pageOfSptep(kvm: Kvm, sptep: Address): number {
  return Math.floor((sptep - kvm.layout.tables) / (2 * kvm.geometry.entries));
}

/** The first gfn that the SPTE at `sptep` maps. */
export function gfnOfSptep(kvm: Kvm, sptep: Address): Gfn {
  const page = pageOfSptep(kvm, sptep);
  const index = ((sptep - kvm.layout.tables) / 2) % kvm.geometry.entries;
  return asGfn(kvm.pages.gfn(page) + index * kvm.geometry.span(kvm.pages.level(page)));
}

/** The head of the reverse map of `gfn` at `level` (gfn_to_rmap). */
export function rmapHead(kvm: Kvm, slot: Memslot, gfn: Gfn, level: Level): Address {
  const { geometry } = kvm;
  const span = geometry.span(level);
  const index = Math.floor(gfn / span) - Math.floor(slot.baseGfn / span);
  const base = slot.rmaps?.[level];
  invariant(base !== undefined && base !== 0, 'slot-without-rmap', `memslot ${slot.id} has no reverse map of level ${level}`);
  return (base + RMAP_HEAD_WORDS * index) as Address;
}

/** Adds the leaf at `sptep` to the reverse map of what it maps. */
export function* rmapAdd(kvm: Kvm, rmaps: Rmaps, slot: Memslot, gfn: Gfn, level: Level, sptep: Address): Task<void> {
  yield* rmaps.add(rmapHead(kvm, slot, gfn, level), sptep);
  yield* addVmStat(kvm, pagesStat(level), 1);
}

/** Clears a present leaf, hands accessed and dirty over, and forgets its reverse mapping. Returns what was there. */
export function* dropSpte(kvm: Kvm, rmaps: Rmaps, sptep: Address): Task<Spte> {
  const page = pageOfSptep(kvm, sptep);
  const level = kvm.pages.level(page);
  const asId = roleAsId(kvm.pages.role(page));
  const gfn = gfnOfSptep(kvm, sptep);
  const old = kvm.memory.xchg64(yield rmw(sptep), kvm.spte.nonpresent);
  invariant(isShadowPresent(old), 'drop-nonpresent', `a leaf that is not present was dropped at gfn ${gfn}`);
  kvm.trace?.spteChanged(asId, gfn, level, old, kvm.spte.nonpresent);
  kvm.counters[MmuCounter.leaves_zapped]++;
  if (kvm.spte.isDirty(old)) kvm.host.setPageDirty(kvm, sptePfn(old));
  if (kvm.spte.isAccessed(old)) kvm.host.setPageAccessed(kvm, sptePfn(old));
  const slot = yield* kvm.slots.find(kvm, asId, gfn);
  invariant(slot !== null, 'rmap-without-slot', `gfn ${gfn} is mapped, but has no memslot`);
  yield* rmaps.remove(rmapHead(kvm, slot, gfn, level), sptep);
  yield* addVmStat(kvm, pagesStat(level), -1);
  return old;
}
