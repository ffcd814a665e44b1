/**
 * All workloads by name.
 */
import { aging } from './aging.ts';
import { collapse } from './collapse.ts';
import { demandPaging } from './demand-paging.ts';
import { dirtyLog } from './dirty-log.ts';
import { liveMigration } from './live-migration.ts';
import { maxGuestMemory } from './max-guest-memory.ts';
import { memslotModification } from './memslot-modification.ts';
import { notifierStorm } from './notifier-storm.ts';
import { nxRecovery } from './nx-recovery.ts';
import { trace } from './trace.ts';
import { unknownName } from './usage-error.ts';
import type { Workload } from './workload.ts';
import { zapRoots } from './zap-roots.ts';

export const WORKLOADS: readonly Workload[] = [
  dirtyLog,
  demandPaging,
  memslotModification,
  notifierStorm,
  zapRoots,
  nxRecovery,
  collapse,
  aging,
  maxGuestMemory,
  liveMigration,
  trace,
];

/** The workload of that name. Errors: UsageError with the nearest name. */
export function findWorkload(name: string): Workload {
  const workload = WORKLOADS.find((w) => w.name === name);
  if (workload === undefined)
    throw unknownName(
      'workload',
      name,
      WORKLOADS.map((w) => w.name),
    );
  return workload;
}
