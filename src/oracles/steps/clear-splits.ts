/**
 * Step oracle: CLEAR of a log that began with all pages dirty splits every huge page that it was asked for, before it protects
 * pages of 4K: else the first write would make the whole huge page dirty again.
 */
import { asGfn, PG_LEVEL_4K } from '../../mmu/level.ts';
import { leafAt } from '../cached-translations.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';

export function clearSplitsOracle(): StepOracle {
  return {
    name: 'clear-splits',
    help: 'CLEAR leaves no huge page over a page that it was asked to clear',
    maskedWalk(world, thread, mask, gfn) {
      const { params, generation, config } = world.kvm;
      if (!params.initiallySet || !params.eagerPageSplit || !generation.eagerPageSplit || config.kernel === '5.15') return;
      // Until 6.7 the last page was forgotten.
      if (generation.clearSplitEnd !== 'exclusive') return;
      for (let i = 0; mask >> BigInt(i) !== 0n; i++) {
        if (((mask >> BigInt(i)) & 1n) === 0n) continue;
        for (const vcpu of world.vcpus) {
          const leaf = vcpu.walker.root === 0 ? null : leafAt(vcpu, vcpu.walker.root, asGfn(gfn + i));
          if (leaf === null || leaf.level === PG_LEVEL_4K) continue;
          const message = `gfn ${hex(gfn + i)} was to be cleared in the log, but its huge page was not split`;
          world.fail(this, 'left-huge', { thread: thread.id, vcpu: vcpu.id, gfn: gfn + i }, message);
        }
      }
    },
  };
}
