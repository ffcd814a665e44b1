/**
 * Step oracle: what an SPTE may become. A frozen one is replaced by its owner alone, an MMIO one by a fault; a leaf maps a page of
 * its size; and a fault that needs a smaller page splits the huge one, so that nobody loses what did not change (6.2).
 */
import { PG_LEVEL_4K } from '../../mmu/level.ts';
import { isLargeSpte, isLastSpte, isShadowPresent, type Spte, sptePfn } from '../../mmu/spte.ts';
import { hex } from '../oracle.ts';
import type { SpteChange, StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';
import type { ThreadView } from '../thread-view.ts';

export function spteChangesOracle(): StepOracle {
  const refuse = (world: StepWorld, thread: ThreadView, change: SpteChange, rule: string, why: string): never => {
    const { gfn, level, old, next } = change;
    const message = `${thread.name}: the SPTE of gfn ${hex(gfn)}, level ${level}, goes from ${old} to ${next}: ${why}`;
    return world.fail(oracle, rule, { thread: thread.id, gfn, level }, message);
  };

  /** The frame of a leaf is one that the memslot's page has or had: else the walk is not where it believes to be. */
  const checkPage = (world: StepWorld, thread: ThreadView, change: SpteChange, leaf: Spte): void => {
    const { gfn, asId } = change;
    const slot = world.slotOf(asId, gfn);
    const { layout } = world.vm.space.frames;
    const pfn = sptePfn(leaf);
    if (slot === null || layout.isZeroFrame(pfn)) return;
    const { base, stride } = layout.runs[slot.region];
    const offset = pfn - base;
    // Frames of another region: the slot is new.
    if (offset < 0 || offset >= stride * layout.generations) return;
    const page = slot.regionPage + (gfn - slot.baseGfn);
    if (offset % stride === page) return;
    refuse(world, thread, change, 'wrong-gfn', `frame ${hex(pfn)} is that of page ${hex(offset % stride)}`);
  };

  const oracle: StepOracle = {
    name: 'spte-changes',
    help: 'a changed SPTE may become what it becomes: a leaf of its level, aligned, for the frame of its gfn',
    spteChanged(world, thread, change) {
      const { level, old, next } = change;
      const { spte, geometry } = world.kvm;
      const wasPresent = isShadowPresent(old);
      const isPresent = isShadowPresent(next);
      if (wasPresent) {
        if (spte.isMmio(next)) refuse(world, thread, change, 'mmio-over-present', 'it maps memory');
        if (isLastSpte(old, level)) checkPage(world, thread, change, old);
      } else if (spte.isFrozen(old)) {
        refuse(world, thread, change, 'frozen-replaced', 'another thread froze it');
      } else if (!isPresent && thread.operation !== 'tdp_map' && spte.isMmio(old) && !spte.isFrozen(next)) {
        refuse(world, thread, change, 'mmio-changed', 'it was made for MMIO');
      }
      if (!isPresent || !isLastSpte(next, level)) return;
      checkPage(world, thread, change, next);
      if (isLargeSpte(next) !== level > PG_LEVEL_4K) refuse(world, thread, change, 'wrong-level', 'that is no leaf of its level');
      if (!geometry.aligned(sptePfn(next), level)) refuse(world, thread, change, 'wrong-level', 'the frame is not aligned');
    },
    spteFrozen(world, thread, gfn) {
      if (thread.operation !== 'tdp_map' || world.kvm.generation.hugeOnFault !== 'split') return;
      const message = `${thread.name}: the fault takes the huge page at gfn ${hex(gfn)} from everybody`;
      world.fail(oracle, 'huge-zapped-by-fault', { thread: thread.id, gfn }, message);
    },
  };
  return oracle;
}
