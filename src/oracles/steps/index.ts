/** The step oracles. */
import type { StepOracle } from '../step-oracle.ts';
import { clearSplitsOracle } from './clear-splits.ts';
import { dirtyHandoverOracle } from './dirty-handover.ts';
import { fastFaultOracle } from './fast-fault.ts';
import { faultRetriesOracle } from './fault-retries.ts';
import { FlushDebts, flushDebtOracle } from './flush-debt.ts';
import { frozenTimeOracle } from './frozen-time.ts';
import { ghostLogOracle } from './ghost-log.ts';
import { guestTranslationOracle } from './guest-translation.ts';
import { hostInvalidationOracle } from './host-invalidation.ts';
import { invalidRootsOracle } from './invalid-roots.ts';
import { invalidationWindowsOracle } from './invalidation-windows.ts';
import { needlessFlushOracle } from './needless-flush.ts';
import { needlessRetryOracle } from './needless-retry.ts';
import { needlessWorkOracle } from './needless-work.ts';
import { rootReferencesOracle } from './root-references.ts';
import { spteChangesOracle } from './spte-changes.ts';
import { spteRightsOracle } from './spte-rights.ts';
import { staleTranslationsOracle } from './stale-translations.ts';
import { tableAccessOracle } from './table-access.ts';
import { walkCostOracle } from './walk-cost.ts';
import { walkProgressOracle } from './walk-progress.ts';
import { zappedRangeOracle } from './zapped-range.ts';

/** A new set of all step oracles, for one `StepWorld`. */
export function stepOracles(): StepOracle[] {
  const debts = new FlushDebts();
  return [
    tableAccessOracle(),
    spteRightsOracle(),
    spteChangesOracle(),
    // The debts of a step are known before guest accesses of that step are judged by them.
    flushDebtOracle(debts),
    staleTranslationsOracle(),
    guestTranslationOracle(debts),
    dirtyHandoverOracle(),
    ghostLogOracle(),
    hostInvalidationOracle(),
    invalidationWindowsOracle(),
    zappedRangeOracle(),
    invalidRootsOracle(),
    rootReferencesOracle(),
    fastFaultOracle(),
    clearSplitsOracle(),
    faultRetriesOracle(),
    walkProgressOracle(),
    walkCostOracle(),
    frozenTimeOracle(),
    needlessFlushOracle(),
    needlessRetryOracle(),
    needlessWorkOracle(),
  ];
}
