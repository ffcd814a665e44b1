/** The step rules of a scenario. */
import type { Vcpu } from '../../vm/vcpu.ts';
import { Changes } from './changes.ts';
import { DirtyHandover } from './dirty-handover.ts';
import { Economy } from './economy.ts';
import { FlushOwed } from './flush-owed.ts';
import { FreedPages } from './freed-pages.ts';
import { Invalidation } from './invalidation.ts';
import type { StepRule } from './step-rule.ts';
import { Walks } from './walks.ts';

/** Fresh rules for one VM; `vcpus` are asked for when they are there. */
export function stepRules(vcpus: () => readonly Vcpu[]): readonly StepRule[] {
  return [
    new Changes(),
    new FlushOwed(vcpus),
    new FreedPages(),
    new DirtyHandover(vcpus),
    new Invalidation(),
    new Walks(),
    new Economy(vcpus),
  ];
}
