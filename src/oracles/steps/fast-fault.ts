/** Step oracle: a fast page fault that claims to have fixed an access has. */
import { RetPf } from '../../mmu/page-fault-info.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';

export function fastFaultOracle(): StepOracle {
  return {
    name: 'fast-fault',
    help: 'the SPTE that a fast page fault leaves allows the access that it fixed',
    fastFault(world, thread, next, result) {
      const fault = thread.cpu?.mmu.fault;
      if (fault === undefined || (result !== RetPf.fixed && result !== RetPf.spurious)) return;
      if (world.kvm.spte.isAccessAllowed(next, fault.write, fault.exec)) return;
      const message = `the fast page fault of ${thread.name} on gfn ${hex(fault.gfn)} leaves ${next}, which does not allow it`;
      world.fail(this, 'fault-not-fixed', { thread: thread.id, gfn: fault.gfn }, message);
    },
  };
}
