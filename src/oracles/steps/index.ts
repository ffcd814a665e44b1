/** The step oracles. */
import type { StepOracle } from '../step-oracle.ts';
import { FlushDebts, flushDebtOracle } from './flush-debt.ts';
import { frozenTimeOracle } from './frozen-time.ts';
import { ghostLogOracle } from './ghost-log.ts';
import { guestTranslationOracle } from './guest-translation.ts';
import { hostInvalidationOracle } from './host-invalidation.ts';
import { rootReferencesOracle } from './root-references.ts';
import { spteRightsOracle } from './spte-rights.ts';
import { tableAccessOracle } from './table-access.ts';
import { walkProgressOracle } from './walk-progress.ts';

/** A new set of all step oracles, for one `StepWorld`. */
export function stepOracles(): StepOracle[] {
  const debts = new FlushDebts();
  return [
    tableAccessOracle(),
    spteRightsOracle(),
    // The debts of a step are known before guest accesses of that step are judged by them.
    flushDebtOracle(debts),
    guestTranslationOracle(debts),
    ghostLogOracle(),
    hostInvalidationOracle(),
    rootReferencesOracle(),
    walkProgressOracle(),
    frozenTimeOracle(),
  ];
}
