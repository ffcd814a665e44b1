/**
 * Step oracle: the guest reaches a frame only by a translation that the SPTEs allow, or that somebody owes a flush for. An
 * access by a stale translation is legal until the flush is done; afterwards the page may be anybody's.
 */
import { isWritable, sptePfn } from '../../mmu/spte.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';
import type { FlushDebts } from './flush-debt.ts';

export function guestTranslationOracle(debts: FlushDebts): StepOracle {
  /** Roots that were invalid when all vCPUs had been made to drop them. */
  const dropped = new Set<number>();
  const oracle: StepOracle = {
    name: 'guest-translation',
    help: 'every guest access uses a translation that the SPTEs allow, or whose flush is still owed',
    start() {
      dropped.clear();
    },
    operation(world, _thread, name) {
      if (name !== 'zap_invalidated_roots') return;
      for (const [page, table] of world.tables.entries()) {
        if (table.root === page && page !== 0 && world.isInvalid(page)) dropped.add(page);
      }
    },
    guest(world, { thread, vcpu, gfn, pfn, write, byHardware, root, leaf }) {
      if (!byHardware) return;
      if (world.isInvalid(root)) {
        // The page of a root that is gone may have become another root.
        if (!dropped.has(root) || world.tables[root].root !== root) return;
        refuse('obsolete-root', `through root ${root}, which all vCPUs had been made to drop`);
      }
      const frame = leaf === null ? -1 : sptePfn(leaf.spte) + (gfn - world.kvm.geometry.round(gfn, leaf.level));
      // Aging takes rights away without a flush; whoever needs to be sure flushes later.
      const allows = leaf !== null && (!write || isWritable(leaf.spte) || world.kvm.spte.isAccessTracked(leaf.spte));
      if ((frame === pfn && allows) || debts.owes(root, gfn)) return;
      const rule = frame === pfn ? 'stale-write' : 'stale-translation';
      refuse(rule, `but its SPTE is ${leaf?.spte ?? 'empty'}, and nobody owes a flush any more`);

      function refuse(broken: string, why: string): never {
        const access = `vCPU ${vcpu} ${write ? 'writes' : 'reads'} gfn ${hex(gfn)} in frame ${hex(pfn)}`;
        return world.fail(oracle, broken, { vcpu, thread: thread.id, gfn, pfn, root }, `${access}, ${why}`);
      }
    },
  };
  return oracle;
}
