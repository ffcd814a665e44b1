/**
 * Step oracle: the guest reaches a frame only by a translation that the SPTEs allow, or that somebody owes a flush for. An
 * access by a stale translation is legal until the flush is done; afterwards the page may be anybody's.
 */
import { own } from '../../machine/point.ts';
import type { Gfn, Level } from '../../mmu/level.ts';
import { isLastSpte, isShadowPresent, isWritable, type Spte, sptePfn, spteToChildPage } from '../../mmu/spte.ts';
import { VcpuArea, VcpuWord } from '../../vm/vcpu-layout.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';
import type { FlushDebts } from './flush-debt.ts';

export function guestTranslationOracle(debts: FlushDebts): StepOracle {
  /** Roots that were invalid when all vCPUs had been made to drop them. */
  const dropped = new Set<number>();
  return {
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
    guest(world, { thread, vcpu, gfn, pfn, write, byHardware }) {
      if (!byHardware) return;
      const root = world.memory.load32(own(new VcpuArea(world.vm.vcpuArea(vcpu), world.vm.config).word(VcpuWord.root)));
      const where = { vcpu, thread: thread.id, gfn, pfn, root };
      const access = `vCPU ${vcpu} ${write ? 'writes' : 'reads'} gfn ${hex(gfn)} in frame ${hex(pfn)}`;
      if (world.isInvalid(root)) {
        // The page of a root that is gone may have become another root.
        if (dropped.has(root) && world.tables[root].root === root) {
          world.fail(this, 'obsolete-root', where, `${access} through root ${root}, which all vCPUs had been made to drop`);
        }
        return;
      }
      const { spte, level } = lastSpte(world, root, gfn);
      const mapped = isShadowPresent(spte) && isLastSpte(spte, level);
      const frame = mapped ? sptePfn(spte) + (gfn - world.kvm.geometry.round(gfn, level)) : -1;
      // Aging takes rights away without a flush; whoever needs to be sure flushes later.
      const may = frame === pfn && (!write || isWritable(spte) || world.kvm.spte.isAccessTracked(spte));
      if (may || debts.owes(root, gfn)) return;
      const rule = frame === pfn ? 'stale-write' : 'stale-translation';
      world.fail(this, rule, where, `${access}, but its SPTE is ${spte}, and nobody owes a flush any more`);
    },
  };
}

function lastSpte(world: StepWorld, root: number, gfn: Gfn): { spte: Spte; level: Level } {
  const { geometry, pages, allocator, spte: format } = world.kvm;
  let page = root;
  for (let level = geometry.rootLevel; ; level--) {
    const spte = world.memory.load64(own(pages.sptep(page, geometry.index(gfn, level))));
    if (!isShadowPresent(spte) || isLastSpte(spte, level)) return { spte, level };
    page = spteToChildPage(spte);
    if (page <= 0 || page >= allocator.pages) return { spte: format.nonpresent, level };
  }
}
