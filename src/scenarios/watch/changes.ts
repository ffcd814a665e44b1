/**
 * Rule: what an SPTE may become. A frozen one is replaced by its owner alone, an MMIO one by a fault; a leaf maps a page of
 * its size; and a fault that needs a smaller page splits the huge one, so that nobody loses what did not change (6.2).
 */
import { type Gfn, PG_LEVEL_4K } from '../../mmu/level.ts';
import { isLargeSpte, isLastSpte, isShadowPresent, sptePfn } from '../../mmu/spte.ts';
import { breakRule, hex, type SpteChange, type StepRule, type WatchedThread } from './step-rule.ts';

export class Changes implements StepRule {
  readonly name = 'changes';

  reset(): void {}

  spteChanged(thread: WatchedThread, { gfn, level, old, next }: SpteChange): void {
    const { spte, geometry } = thread.vm.kvm;
    const where = `${thread.name}: the SPTE of gfn ${hex(gfn)}, level ${level}`;
    if (spte.isFrozen(old)) breakRule('frozen-replaced', `${where}, was frozen by another thread and becomes ${next}`);
    if (spte.isMmio(old) && !isShadowPresent(next) && thread.operationName !== 'tdp_map' && !spte.isFrozen(next)) {
      breakRule('mmio-changed', `${where}, was made for MMIO (${old}) and becomes ${next}`);
    }
    if (isShadowPresent(old) && spte.isMmio(next))
      breakRule('mmio-over-present', `${where}, maps memory (${old}) and becomes MMIO`);
    if (!isShadowPresent(next) || !isLastSpte(next, level)) return;
    if (isLargeSpte(next) !== level > PG_LEVEL_4K) breakRule('wrong-level', `${where}: ${next} is no leaf of that level`);
    if (!geometry.aligned(sptePfn(next), level)) {
      breakRule('wrong-level', `${where}: frame ${hex(sptePfn(next))} is not aligned to the page`);
    }
  }

  frozen(thread: WatchedThread, gfn: Gfn): void {
    if (thread.operationName !== 'tdp_map' || thread.vm.kvm.generation.hugeOnFault !== 'split') return;
    breakRule('huge-zapped-by-fault', `${thread.name}: the fault takes the huge page at gfn ${hex(gfn)} from everybody`);
  }
}
