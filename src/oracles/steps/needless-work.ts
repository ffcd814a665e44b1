/**
 * Step oracle, for cost: nothing is done in vain. A log that begins with all pages dirty protects nothing yet, and NX recovery
 * leaves tables alone whose slot logs, for they would only come back.
 */
import { slotLogsDirty } from '../../mmu/memslot.ts';
import { roleAsId } from '../../mmu/mmu-page.ts';
import { Site } from '../../mmu/site.ts';
import { isShadowPresent, isWritable } from '../../mmu/spte.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';

/** Where mmu_lock is taken to protect a slot that begins to log. */
const PROTECTING: ReadonlySet<number> = new Set([Site.kvm_mmu_slot_remove_write_access, Site.kvm_mmu_slot_leaf_clear_dirty]);

export function needlessWorkOracle(): StepOracle {
  return {
    name: 'needless-work',
    help: 'no page is protected that the log has as dirty, and no table recovered whose slot logs',
    spteChanged(world, thread, { gfn, old, next }) {
      if (!PROTECTING.has(thread.mmuLockSite) || !world.kvm.params.initiallySet) return;
      if (!isShadowPresent(next) || !isWritable(old) || isWritable(next)) return;
      const message = `${thread.name} protects gfn ${hex(gfn)}, which the log has as dirty from the start`;
      world.fail(this, 'needless-protection', { thread: thread.id, gfn }, message);
    },
    tableRemoved(world, thread, page) {
      if (thread.mmuLockSite !== Site.kvm_recover_nx_huge_pages) return;
      const { pages } = world.kvm;
      const gfn = pages.gfn(page);
      const slot = world.slotOf(roleAsId(pages.role(page)), gfn);
      if (slot === null || !slotLogsDirty(slot)) return;
      const message = `NX recovery takes the table of gfn ${hex(gfn)}, whose memslot logs dirty pages`;
      world.fail(this, 'needless-recovery', { thread: thread.id, gfn, page }, message);
    },
  };
}
