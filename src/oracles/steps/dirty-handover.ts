/**
 * Step oracle: what the guest wrote to a host page reaches the host. A write through an SPTE that is dirty is known to nobody else; so
 * when the SPTE goes, or loses its dirty state, the page must be reported before mmu_lock is released (kvm_set_pfn_dirty).
 */
import { LockNumber } from '../../machine/lock-number.ts';
import type { Gfn } from '../../mmu/level.ts';
import { isLastSpte, isShadowPresent, sptePfn } from '../../mmu/spte.ts';
import { leafAt } from '../cached-translations.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';

export function dirtyHandoverOracle(): StepOracle {
  /** Frames that were written through a dirty SPTE since they were reported. */
  const written = new Set<number>();
  /** For each thread frames whose SPTE it has taken or cleaned and not reported, with the gfn. */
  const owedBy: Map<number, Gfn>[] = [];
  /** For each thread first frames that it has reported since it took mmu_lock: some report before they change the SPTE. */
  const reportedBy: Set<number>[] = [];
  return {
    name: 'dirty-handover',
    help: 'what the guest wrote through a dirty SPTE is reported to the host before the SPTE is forgotten',
    start() {
      if (written.size > 0) written.clear();
      for (const frames of owedBy) frames?.clear();
      for (const frames of reportedBy) frames?.clear();
    },
    guest(world, { pfn, write, leaf }) {
      if (write && leaf !== null && world.kvm.spte.isDirty(leaf.spte)) written.add(pfn);
    },
    spteChanged(world, thread, { gfn, level, old, next }) {
      if (written.size === 0 || !isShadowPresent(old) || !isLastSpte(old, level)) return;
      const { spte, geometry } = world.kvm;
      if (isShadowPresent(next) && (!isLastSpte(next, level) || spte.isDirty(next))) return;
      const first = sptePfn(old);
      const reported = reportedBy[thread.id]?.has(first) === true;
      for (let pfn = first; pfn < first + geometry.span(level); pfn++) {
        if (reported) written.delete(pfn);
        else if (written.has(pfn)) (owedBy[thread.id] ??= new Map()).set(pfn, (gfn + pfn - first) as Gfn);
      }
    },
    hostPageDirtied(world, thread, pfn) {
      (reportedBy[thread.id] ??= new Set()).add(pfn);
      // A huge page is reported by its first frame.
      const owed = owedBy[thread.id];
      const { entries } = world.kvm.geometry;
      for (let at: number = pfn; at < pfn + entries * entries; at++) {
        if (at > pfn && !owed?.has(at)) continue;
        written.delete(at);
        owed?.delete(at);
      }
    },
    lockReleased(world, thread, lock) {
      if (lock !== LockNumber.mmuLock) return;
      reportedBy[thread.id]?.clear();
      const owed = owedBy[thread.id];
      if (owed === undefined || owed.size === 0) return;
      for (const [pfn, gfn] of owed) if (knownElsewhere(world, gfn, pfn)) owed.delete(pfn);
      if (owed.size === 0) return;
      const [[pfn, gfn]] = owed;
      const message = `${thread.name} took the SPTE of frame ${hex(pfn)}, which the guest wrote, and did not report it dirty`;
      world.fail(this, 'dirty-lost', { thread: thread.id, gfn, pfn }, message);
    },
  };
}

/** Whether another root has an SPTE for the frame that is dirty, so that the write is not forgotten. */
function knownElsewhere(world: StepWorld, gfn: Gfn, pfn: number): boolean {
  const { geometry, spte } = world.kvm;
  return world.vcpus.some((vcpu) => {
    const leaf = vcpu.walker.root === 0 ? null : leafAt(vcpu, vcpu.walker.root, gfn);
    if (leaf === null || !spte.isDirty(leaf.spte)) return false;
    return sptePfn(leaf.spte) + (gfn - geometry.round(gfn, leaf.level)) === pfn;
  });
}
