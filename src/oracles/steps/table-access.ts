/**
 * Step oracle: nobody touches a page table that may be freed under its feet. A table that was freed, or freed and handed out
 * again, is nobody's but its owner's; a linked or removed one is looked at inside an RCU read-side section or under mmu_lock
 * held for write, or by a processor in the guest, for which the flush that precedes the grace period waits.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { PageState } from '../../machine/page-allocator.ts';
import { Held } from '../../machine/thread.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';
import { TableStatus } from '../table-info.ts';

export function tableAccessOracle(): StepOracle {
  return {
    name: 'table-access',
    help: 'page tables are read and written only by those for whom they cannot be freed',
    tableAccess(world, thread, _kind, page, sptep) {
      const { status, owner } = world.tables[page];
      if (status === TableStatus.free) {
        const where = { thread: thread.id, page, word: sptep };
        world.fail(this, 'use-after-free', where, `${thread.name} accesses page-table page ${page}, which was freed`);
      }
      if (status === TableStatus.private) {
        if (owner < 0 || owner === thread.id) return;
        const where = { thread: thread.id, page, word: sptep };
        const whose = world.threads[owner].name;
        world.fail(this, 'use-after-free', where, `${thread.name} accesses page-table page ${page}, which ${whose} has in hand`);
      }
      // What protected a store when it was issued need not be there any more when others see it.
      if (world.drained) return;
      if (thread.inRcu || thread.held[LockNumber.mmuLock] === Held.write || world.vcpuInGuest(thread.vcpu)) return;
      const where = { thread: thread.id, page, word: sptep };
      const what = `page-table page ${page} (gfn ${hex(world.tables[page].gfn)})`;
      world.fail(this, 'table-without-rcu', where, `${thread.name} walks ${what} outside any RCU read-side section`);
    },
    /** The owner of a page that is not linked uses its header, too, but nobody else can see that: those are no steps. */
    headerAccess(world, thread, _kind, page, a) {
      const state = world.kvm.allocator.stateOf(world.memory, page);
      if (state === PageState.live || state === PageState.rcu) return;
      const what = state === PageState.free ? 'was freed' : 'was freed and handed out again';
      const message = `${thread.name} uses the header of page-table page ${page}, which ${what}`;
      world.fail(this, 'use-after-free', { thread: thread.id, page, word: a }, message);
    },
  };
}
