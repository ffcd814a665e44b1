/**
 * From a workload on real threads to the scenarios that pit the same operations against each other: a run that fails there cannot be
 * repeated, a schedule of the explorer can.
 */
import { loadAllScenarios } from './library.ts';
import type { Scenario } from './scenario.ts';

const DIRTY_LOG: readonly string[] = ['setflags', 'getlog', 'clearlog'];

/** What the threads of a workload do beside guests' accesses, in the words of the script language. */
const OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  'dirty-log': DIRTY_LOG,
  'live-migration': DIRTY_LOG,
  collapse: ['setflags', 'madvise'],
  'demand-paging': [],
  'max-guest-memory': [],
  'memslot-modification': ['slot', 'delslot', 'moveslot'],
  'notifier-storm': ['madvise', 'mprotect', 'age'],
  'zap-roots': ['zapall'],
  'nx-recovery': ['recover', 'zapall'],
  aging: ['age', 'madvise'],
  trace: [...DIRTY_LOG, 'slot', 'delslot', 'madvise'],
};

/** Operations that every workload has, or that only set the stage. */
const EVERYWHERE: ReadonlySet<string> = new Set<string>(['touch', 'resched', 'allocfail']);

/** Names of the scenarios whose threads do nothing but what those of `workload` do; none for a workload that is not known. */
export function scenariosAlike(workload: string, scenarios: readonly Scenario[] = loadAllScenarios()): readonly string[] {
  const operations = OPERATIONS[workload];
  if (operations === undefined) return [];
  return scenarios.flatMap(({ name, explored }) => {
    const own = explored.threads.flatMap((thread) => thread.operations.map(({ op }) => op as string));
    const telling = own.filter((op) => !EVERYWHERE.has(op));
    const fits = operations.length === 0 ? telling.length === 0 : telling.length > 0;
    return fits && telling.every((op) => operations.includes(op)) ? [name] : [];
  });
}
