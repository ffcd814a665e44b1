/** The state oracles, and running them all over a VM that holds still. */
import type { Vm } from '../vm/vm.ts';
import { dirtyLogOracle } from './dirty-log.ts';
import { frozenOracle } from './frozen.ts';
import { locate } from './history.ts';
import { locksOracle } from './locks.ts';
import { mappingOracle } from './mapping.ts';
import { Collector, type OracleReport, type StateOracle, type Where } from './oracle.ts';
import { pagesOracle } from './pages.ts';
import { QuiescentState, type StateOptions, VIOLATIONS_KEPT } from './quiescent-state.ts';
import { rmapsOracle } from './rmaps.ts';
import { rootsOracle } from './roots.ts';
import { statisticsOracle } from './statistics.ts';
import { tlbOracle } from './tlb.ts';
import { treeOracle } from './tree.ts';

/** Every state oracle, in the order in which they run: what others rely on comes first. */
export const STATE_ORACLES: readonly StateOracle[] = [
  locksOracle,
  rootsOracle,
  treeOracle,
  frozenOracle,
  pagesOracle,
  statisticsOracle,
  mappingOracle,
  tlbOracle,
  dirtyLogOracle,
];

/** Those for the rmap-based MMU: it has no list of roots, and pages in use that are not linked. */
export const SHADOW_STATE_ORACLES: readonly StateOracle[] = [
  locksOracle,
  rmapsOracle,
  treeOracle,
  mappingOracle,
  tlbOracle,
  dirtyLogOracle,
];

/**
 * Checks a VM that holds still with all oracles of its MMU, or those of `oracles`, and returns a report of each. `vm` is any handle on
 * it; nothing is written, no lock is taken.
 *
 * @example
 * const broken = checkVm(vm).filter(({ total }) => total > 0);
 */
export function checkVm(
  vm: Vm,
  options: StateOptions = {},
  oracles: readonly StateOracle[] = vm.layout.shadow === null ? STATE_ORACLES : SHADOW_STATE_ORACLES,
): OracleReport[] {
  const state = new QuiescentState(vm, options);
  const { history } = options;
  const historyOf = history ? (where: Where) => history(locate(state, where)) : null;
  return oracles.map((oracle) => {
    const found = new Collector(oracle.name, options.limit ?? VIOLATIONS_KEPT, historyOf);
    oracle.check(state, found);
    return found.summary;
  });
}
