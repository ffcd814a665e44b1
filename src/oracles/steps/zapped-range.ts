/**
 * Step oracle: what was zapped stays zapped. Once a range was zapped for good (kvm_zap_gfn_range has returned), nothing is mapped in
 * it by a fault that looked the page up before the zap began; faults that looked afterwards may map it again.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { own, StepKind } from '../../machine/point.ts';
import { KvmWord } from '../../mmu/kvm.ts';
import { asGfn } from '../../mmu/level.ts';
import { Site } from '../../mmu/site.ts';
import { isLastSpte, isShadowPresent } from '../../mmu/spte.ts';
import { leafBelow } from '../cached-translations.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';

/** A leaf that a fault installed. */
interface Installed {
  readonly gfn: number;
  readonly end: number;
  readonly root: number;
  /** Number of zaps of ranges that had begun when the fault noted the invalidation sequence. */
  readonly lookedUpAt: number;
}

export function zappedRangeOracle(): StepOracle {
  /** Zaps of ranges begun. */
  let zaps = 0;
  /** For each thread: zaps begun when its fault looked; -1 where it has not. */
  const lookedUp: number[] = [];
  /** For each thread: the number of the zap that it is at, 0 for none, and its range. */
  const zapping: number[] = [];
  const ranges: (readonly [number, number])[] = [];
  let installed: Installed[] = [];
  return {
    name: 'zapped-range',
    help: 'after a range was zapped, no fault that had looked before maps anything in it',
    prepare(world) {
      world.watch(world.kvm.word(KvmWord.invalidateSeq));
    },
    start() {
      zaps = 0;
      lookedUp.length = 0;
      zapping.length = 0;
      if (installed.length > 0) installed = [];
    },
    pageFault(_world, thread) {
      lookedUp[thread.id] = -1;
    },
    access(world, thread, kind, a) {
      if (kind !== StepKind.Read || lookedUp[thread.id] !== -1) return;
      if (a === world.kvm.word(KvmWord.invalidateSeq)) lookedUp[thread.id] = zaps;
    },
    spte(world, { thread, gfn, level, old, next, table }) {
      const lookedUpAt = lookedUp[thread.id] ?? -1;
      if (thread.operation !== 'tdp_map' || lookedUpAt < 0 || isShadowPresent(old)) return;
      if (!isShadowPresent(next) || !isLastSpte(next, level)) return;
      installed.push({ gfn, end: gfn + world.kvm.geometry.span(level), root: table.root, lookedUpAt });
    },
    zapsRange(_world, thread, first, end) {
      ranges[thread.id] = [first, end];
    },
    lockAcquired(_world, thread, lock, _mode, site) {
      if (lock === LockNumber.mmuLock && site === Site.kvm_zap_gfn_range) zapping[thread.id] = ++zaps;
    },
    zappedRange(world, thread) {
      const began = zapping[thread.id] ?? 0;
      if (began === 0) return;
      const [first, end] = ranges[thread.id];
      zapping[thread.id] = 0;
      for (const { gfn, end: last, root, lookedUpAt } of installed) {
        if (gfn >= end || last <= first || lookedUpAt >= began) continue;
        const listed = world.memory.load32(own(world.kvm.word(KvmWord.roots))) !== 0 && !world.isInvalid(root);
        if (!listed || leafBelow(world.kvm, root, asGfn(gfn)) === null) continue;
        const message = `gfn ${hex(gfn)} is mapped after its range was zapped, by a fault that looked before the zap`;
        world.fail(this, 'stale-after-zap', { thread: thread.id, gfn, root }, message);
      }
    },
  };
}
