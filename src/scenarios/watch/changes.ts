/**
 * Rule: what an SPTE may become. A frozen one is replaced by its owner alone, an MMIO one by a fault; a leaf maps a page of
 * its size; and a fault that needs a smaller page splits the huge one, so that nobody loses what did not change (6.2).
 */
import { own } from '../../machine/point.ts';
import { type Gfn, PG_LEVEL_4K } from '../../mmu/level.ts';
import { type Memslot, slotContains } from '../../mmu/memslot.ts';
import { isLargeSpte, isLastSpte, isShadowPresent, type Spte, sptePfn } from '../../mmu/spte.ts';
import { breakRule, hex, type SpteChange, type StepRule, type WatchedThread } from './step-rule.ts';

export class Changes implements StepRule {
  readonly name = 'changes';

  /** The memslots of address space 0 as they were decoded last, and the publication that they are of. */
  #slots: readonly Memslot[] = [];
  #active = -1;

  reset(): void {
    this.#active = -1;
  }

  spteChanged(thread: WatchedThread, { gfn, level, old, next }: SpteChange): void {
    const { spte, geometry } = thread.vm.kvm;
    const where = `${thread.name}: the SPTE of gfn ${hex(gfn)}, level ${level}`;
    if (spte.isFrozen(old)) breakRule('frozen-replaced', `${where}, was frozen by another thread and becomes ${next}`);
    if (spte.isMmio(old) && !isShadowPresent(next) && thread.operationName !== 'tdp_map' && !spte.isFrozen(next)) {
      breakRule('mmio-changed', `${where}, was made for MMIO (${old}) and becomes ${next}`);
    }
    if (isShadowPresent(old) && spte.isMmio(next))
      breakRule('mmio-over-present', `${where}, maps memory (${old}) and becomes MMIO`);
    if (isShadowPresent(old) && isLastSpte(old, level)) this.#checkPage(thread, gfn, old);
    if (!isShadowPresent(next) || !isLastSpte(next, level)) return;
    this.#checkPage(thread, gfn, next);
    if (isLargeSpte(next) !== level > PG_LEVEL_4K) breakRule('wrong-level', `${where}: ${next} is no leaf of that level`);
    if (!geometry.aligned(sptePfn(next), level)) {
      breakRule('wrong-level', `${where}: frame ${hex(sptePfn(next))} is not aligned to the page`);
    }
  }

  frozen(thread: WatchedThread, gfn: Gfn): void {
    if (thread.operationName !== 'tdp_map' || thread.vm.kvm.generation.hugeOnFault !== 'split') return;
    breakRule('huge-zapped-by-fault', `${thread.name}: the fault takes the huge page at gfn ${hex(gfn)} from everybody`);
  }

  /** The frame of a leaf is one that the memslot's page has or had: else the walk is not where it believes to be. */
  #checkPage({ vm, name }: WatchedThread, gfn: Gfn, leaf: Spte): void {
    const sets = vm.slots.sets[0];
    const active = vm.memory.load32(own(sets.active));
    if (active !== this.#active) {
      this.#active = active;
      this.#slots = sets.decode(active);
    }
    const slot = this.#slots.find((s) => slotContains(s, gfn));
    const { layout } = vm.space.frames;
    const pfn = sptePfn(leaf);
    if (slot === undefined || layout.isZeroFrame(pfn)) return;
    const { base, stride } = layout.runs[slot.region];
    const offset = pfn - base;
    // Frames of another region: the slot is new, or of the other address space.
    if (offset < 0 || offset >= stride * layout.generations) return;
    const page = slot.regionPage + (gfn - slot.baseGfn);
    if (offset % stride !== page) {
      breakRule(
        'wrong-gfn',
        `${name} takes frame ${hex(pfn)} for gfn ${hex(gfn)}, but it is that of page ${hex(offset % stride)}`,
      );
    }
  }
}
