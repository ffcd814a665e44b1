/**
 * Rule: what the guest wrote to a host page reaches the host. A write through an SPTE that is dirty is known to nobody else; so
 * when the SPTE goes, or loses its dirty state, the page must be reported before mmu_lock is released (kvm_set_pfn_dirty).
 */
import type { Gfn, Pfn } from '../../mmu/level.ts';
import { isLastSpte, isShadowPresent, sptePfn } from '../../mmu/spte.ts';
import type { Vcpu } from '../../vm/vcpu.ts';
import { leafAt } from './stale.ts';
import { breakRule, hex, type SpteChange, type StepRule, type WatchedThread } from './step-rule.ts';

export class DirtyHandover implements StepRule {
  readonly name = 'dirty-handover';
  /** Frames that were written through a dirty SPTE since they were reported. */
  readonly #written = new Set<number>();
  /** For each thread frames whose SPTE it has taken or cleaned and not reported, with the gfn. */
  readonly #owed: Map<number, Gfn>[] = [];
  readonly #vcpus: () => readonly Vcpu[];

  constructor(vcpus: () => readonly Vcpu[]) {
    this.#vcpus = vcpus;
  }

  reset(): void {
    this.#written.clear();
    for (const frames of this.#owed) frames?.clear();
  }

  guestWrote(vcpu: Vcpu, gfn: Gfn, pfn: Pfn): void {
    const leaf = leafAt(vcpu, vcpu.walker.root, gfn);
    if (leaf !== null && vcpu.kvm.spte.isDirty(leaf.spte)) this.#written.add(pfn);
  }

  spteChanged(thread: WatchedThread, { gfn, level, old, next }: SpteChange): void {
    if (this.#written.size === 0 || !isShadowPresent(old) || !isLastSpte(old, level)) return;
    const { spte, geometry } = thread.vm.kvm;
    if (isShadowPresent(next) && (!isLastSpte(next, level) || spte.isDirty(next))) return;
    const first = sptePfn(old);
    for (let pfn = first; pfn < first + geometry.span(level); pfn++) {
      if (this.#written.has(pfn)) (this.#owed[thread.id] ??= new Map()).set(pfn, (gfn + pfn - first) as Gfn);
    }
  }

  hostPageDirtied(thread: WatchedThread, pfn: Pfn): void {
    // A huge page is reported by its first frame.
    const owed = this.#owed[thread.id];
    const { entries } = thread.vm.kvm.geometry;
    for (let at: number = pfn; at < pfn + entries * entries; at++) {
      if (at > pfn && !owed?.has(at)) continue;
      this.#written.delete(at);
      owed?.delete(at);
    }
  }

  mmuUnlocked(thread: WatchedThread): void {
    const owed = this.#owed[thread.id];
    if (owed === undefined || owed.size === 0) return;
    for (const [pfn, gfn] of owed) if (this.#knownElsewhere(gfn, pfn)) owed.delete(pfn);
    if (owed.size === 0) return;
    const [[pfn]] = owed;
    breakRule(
      'dirty-lost',
      `${thread.name} took the SPTE of frame ${hex(pfn)}, which the guest wrote, and did not report it dirty`,
    );
  }

  /** Whether another root has an SPTE for the frame that is dirty, so that the write is not forgotten. */
  #knownElsewhere(gfn: Gfn, pfn: number): boolean {
    return this.#vcpus().some((vcpu) => {
      const leaf = vcpu.walker.root === 0 ? null : leafAt(vcpu, vcpu.walker.root, gfn);
      if (leaf === null || !vcpu.kvm.spte.isDirty(leaf.spte)) return false;
      const { geometry } = vcpu.kvm;
      return sptePfn(leaf.spte) + (gfn - geometry.round(gfn, leaf.level)) === pfn;
    });
  }
}
