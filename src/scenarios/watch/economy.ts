/**
 * Rule: nothing is done in vain, or half. A log that begins with all pages dirty protects nothing yet, and CLEAR splits every huge
 * page that it was asked for; NX recovery leaves tables alone whose slot logs, for they would only come back; and a fast page
 * fault that claims to have fixed an access has.
 */
import { own } from '../../machine/point.ts';
import { asGfn, type Gfn, PG_LEVEL_4K } from '../../mmu/level.ts';
import { slotContains, slotLogsDirty } from '../../mmu/memslot.ts';
import { roleAsId } from '../../mmu/mmu-page.ts';
import { RetPf } from '../../mmu/page-fault-info.ts';
import { Site } from '../../mmu/site.ts';
import { isShadowPresent, isWritable, type Spte } from '../../mmu/spte.ts';
import type { Vcpu } from '../../vm/vcpu.ts';
import type { Vm } from '../../vm/vm.ts';
import { leafAt } from './stale.ts';
import { breakRule, hex, type SpteChange, type StepRule, type WatchedThread } from './step-rule.ts';

/** Where mmu_lock is taken to protect a slot that begins to log. */
const PROTECTING: ReadonlySet<number> = new Set([Site.kvm_mmu_slot_remove_write_access, Site.kvm_mmu_slot_leaf_clear_dirty]);

export class Economy implements StepRule {
  readonly name = 'economy';
  readonly #vcpus: () => readonly Vcpu[];

  constructor(vcpus: () => readonly Vcpu[]) {
    this.#vcpus = vcpus;
  }

  reset(): void {}

  spteChanged(thread: WatchedThread, { gfn, old, next }: SpteChange): void {
    if (!thread.vm.kvm.params.initiallySet || !PROTECTING.has(thread.mmuLockSite)) return;
    if (!isShadowPresent(next) || !isWritable(old) || isWritable(next)) return;
    breakRule('needless-protection', `${thread.name} protects gfn ${hex(gfn)}, which the log has as dirty from the start`);
  }

  maskedWalk(thread: WatchedThread, mask: bigint, gfn: Gfn): void {
    const { kvm } = thread.vm;
    const { params, generation, config } = kvm;
    if (!params.initiallySet || !params.eagerPageSplit || !generation.eagerPageSplit || config.kernel === '5.15') return;
    // Until 6.7 the last page was forgotten.
    if (generation.clearSplitEnd !== 'exclusive') return;
    for (let i = 0; mask >> BigInt(i) !== 0n; i++) {
      if (((mask >> BigInt(i)) & 1n) === 0n) continue;
      for (const vcpu of this.#vcpus()) {
        const leaf = vcpu.walker.root === 0 ? null : leafAt(vcpu, vcpu.walker.root, asGfn(gfn + i));
        if (leaf === null || leaf.level === PG_LEVEL_4K) continue;
        breakRule('left-huge', `gfn ${hex(gfn + i)} was to be cleared in the log, but its huge page was not split`);
      }
    }
  }

  tableRemoved(thread: WatchedThread, page: number): void {
    if (thread.mmuLockSite !== Site.kvm_recover_nx_huge_pages) return;
    const { kvm } = thread.vm;
    const gfn = kvm.pages.gfn(page);
    if (!logs(thread.vm, roleAsId(kvm.pages.role(page)), gfn)) return;
    breakRule('needless-recovery', `NX recovery takes the table of gfn ${hex(gfn)}, whose memslot logs dirty pages`);
  }

  fastFault(thread: WatchedThread, next: Spte, result: RetPf): void {
    const fault = thread.vcpu?.mmu.fault;
    if (fault === undefined || (result !== RetPf.fixed && result !== RetPf.spurious)) return;
    if (thread.vm.kvm.spte.isAccessAllowed(next, fault.write, fault.exec)) return;
    breakRule(
      'fault-not-fixed',
      `the fast page fault of ${thread.name} on gfn ${hex(fault.gfn)} leaves ${next}, which does not allow it`,
    );
  }
}

function logs({ slots, memory }: Vm, asId: number, gfn: Gfn): boolean {
  const sets = slots.sets[asId];
  const slot = sets.decode(memory.load32(own(sets.active))).find((s) => slotContains(s, gfn));
  return slot !== undefined && slotLogsDirty(slot);
}
