/**
 * Changing a present leaf of the rmap-based MMU (kernel: mmu_spte_update, mmu_spte_clear_track_bits, mmu_spte_age,
 * spte_has_volatile_bits in arch/x86/kvm/mmu.c of 5.4).
 *
 * mmu_lock is held by whoever comes here, so only the processor and fast page faults compete: an SPTE that one of them may
 * change is exchanged, and what they changed last is seen; others are stored plainly.
 */

import { Cost } from '../machine/cost.ts';
import { type Address, rmw, spend, type Task } from '../machine/point.ts';
import { andNot64, type Word64 } from '../machine/word64.ts';
import { MmuCounter } from '../mmu/counters.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, type Gfn } from '../mmu/level.ts';
import { roleAsId } from '../mmu/mmu-page.ts';
import { isWritable, type Spte, spteAdEnabled, sptePfn } from '../mmu/spte.ts';
import { writeSptePlain } from '../mmu/write-spte.ts';

/** The page that holds the SPTE at `sptep` (sptep_to_sp). */
export function pageOfSptep(kvm: Kvm, sptep: Address): number {
  return kvm.allocator.pageOfTable(sptep);
}

/** The first gfn that the SPTE at `sptep` maps (kvm_mmu_page_get_gfn). */
export function gfnOfSptep(kvm: Kvm, sptep: Address): Gfn {
  const page = pageOfSptep(kvm, sptep);
  const index = (sptep - kvm.allocator.tableOf(page)) / 2;
  return asGfn(kvm.pages.gfn(page) + index * kvm.geometry.span(kvm.pages.level(page)));
}

/** Tells the listener, if there is one, that the SPTE at `sptep` changed. */
export function traceChange(kvm: Kvm, sptep: Address, old: Spte, next: Spte): void {
  if (kvm.trace === null) return;
  const page = pageOfSptep(kvm, sptep);
  kvm.trace.spteChanged(roleAsId(kvm.pages.role(page)), gfnOfSptep(kvm, sptep), kvm.pages.level(page), old, next);
}

/** Whether a fast page fault may give the leaf W, now or later (spte_can_locklessly_be_made_writable). */
export function canBecomeWritable(kvm: Kvm, spte: Spte): boolean {
  return kvm.spte.isMmuWritable(spte) && kvm.spte.isHostWritable(spte);
}

/**
 * Whether the leaf must be exchanged. Other than in the TDP MMU that is so for all that may ever become writable, because
 * whether W was set decides about a flush.
 */
function isVolatile(kvm: Kvm, spte: Spte): boolean {
  if (kvm.bugs['nonatomic-write-loses-w-or-d'] === true) return false;
  return canBecomeWritable(kvm, spte) || kvm.spte.isVolatile(spte);
}

/** Replaces the present leaf `old` and returns what was there. */
function* replaceLeaf(kvm: Kvm, sptep: Address, old: Spte, next: Spte): Task<Spte> {
  yield spend(Cost.spteChange);
  let seen = old;
  if (isVolatile(kvm, old)) {
    kvm.counters[MmuCounter.xchg_volatile]++;
    seen = kvm.memory.xchg64(yield rmw(sptep), next);
  } else {
    yield* writeSptePlain(kvm, sptep, next);
  }
  traceChange(kvm, sptep, seen, next);
  return seen;
}

export function setPageDirty(kvm: Kvm, spte: Spte): void {
  kvm.counters[MmuCounter.host_pages_dirtied]++;
  kvm.host.setPageDirty(kvm, sptePfn(spte));
}

function setPageAccessed(kvm: Kvm, spte: Spte): void {
  kvm.counters[MmuCounter.host_pages_accessed]++;
  kvm.host.setPageAccessed(kvm, sptePfn(spte));
}

/**
 * Replaces a present leaf by another of the same page, and hands accessed and dirty over where they go (mmu_spte_update).
 * Returns whether a flush is owed.
 */
export function* mmuSpteUpdate(kvm: Kvm, sptep: Address, old: Spte, next: Spte): Task<boolean> {
  const { spte } = kvm;
  spte.checkWritableInvariants(next);
  const seen = yield* replaceLeaf(kvm, sptep, old, next);
  // A fast page fault may have set W at any time, so its absence in what was read does not count.
  let flush = canBecomeWritable(kvm, seen) && !isWritable(next);
  if (spte.isAccessed(seen) && !spte.isAccessed(next)) {
    flush = true;
    setPageAccessed(kvm, seen);
  }
  if (spte.isDirty(seen) && !spte.isDirty(next)) {
    flush = true;
    setPageDirty(kvm, seen);
  }
  return flush;
}

/** Clears a present leaf and hands accessed and dirty over (mmu_spte_clear_track_bits). Returns what was there. */
export function* mmuSpteClearTrackBits(kvm: Kvm, sptep: Address, old: Spte): Task<Spte> {
  const seen = yield* replaceLeaf(kvm, sptep, old, kvm.spte.nonpresent);
  if (kvm.spte.isAccessed(seen)) setPageAccessed(kvm, seen);
  if (kvm.spte.isDirty(seen)) setPageDirty(kvm, seen);
  return seen;
}

/** Clears bits of a present leaf by one atomic step, whatever else changes in it. Returns what was there. */
export function* clearLeafBits(kvm: Kvm, sptep: Address, bits: Word64): Task<Spte> {
  yield spend(Cost.spteChange);
  const seen = kvm.memory.and64(yield rmw(sptep), andNot64({ lo: -1, hi: -1 } as Word64, bits));
  traceChange(kvm, sptep, seen, andNot64(seen, bits));
  return seen;
}

/** Makes an accessed leaf old (mmu_spte_age). Nothing is flushed, and the host is not told of the access: it asked. */
export function* mmuSpteAge(kvm: Kvm, sptep: Address, old: Spte): Task<void> {
  if (spteAdEnabled(old)) {
    yield* clearLeafBits(kvm, sptep, kvm.spte.accessed);
    return;
  }
  const seen = yield* replaceLeaf(kvm, sptep, old, kvm.spte.markForAccessTrack(old));
  // Without A/D bits W is what says dirty, and it is gone now.
  if (isWritable(seen)) setPageDirty(kvm, seen);
}
