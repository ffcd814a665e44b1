/**
 * Virtual time by what a reader wants to know it by: a few groups over the causes of `causes.ts`.
 */
import { IDLE_LABEL } from './plan-labels.ts';
import type { TaskReport } from './run-report.ts';

/** Groups and their causes; a group's time is the sum. What waits for a lock is grouped by its name below. */
export const TIME_GROUPS = {
  guest: ['guestAccess', 'emulate'],
  walk: ['walkLevel'],
  exit: ['vmExit', 'vmEnter'],
  faultHandling: [
    'faultPath',
    'walkStart',
    'iterStep',
    'spteChange',
    'splitEntry',
    'tableAlloc',
    'tableFree',
    'hashedPage',
    'access',
    'fence',
    'relax',
  ],
  hostFault: ['gup', 'hostFault', 'userfaultfd'],
  ipi: ['ipi', 'tlbFlush'],
  cacheLine: ['lineTransfer', 'lineQueue'],
  user: ['syscall', 'bitmapWord', 'kernelPage', 'srcuGracePeriod', 'userPage'],
  scheduler: ['runnable', 'contextSwitch', 'wake', 'wakeup', 'reschedule'],
  mmuLock: ['waiting:mmu_lock'],
  idle: [`waiting:${IDLE_LABEL}`],
  /** Waiting for other locks, for vCPUs, for readers. */
  otherWaits: [],
} as const;

export type TimeGroup = keyof typeof TIME_GROUPS;
export const TIME_GROUP_NAMES = Object.keys(TIME_GROUPS) as TimeGroup[];

const GROUP_OF = new Map<string, TimeGroup>(
  TIME_GROUP_NAMES.flatMap((group) => TIME_GROUPS[group].map((cause): [string, TimeGroup] => [cause, group])),
);

/** The time of some tasks, in nanoseconds: by group, and by cause. */
export interface TimeShares {
  readonly tasks: number;
  /** All time of the tasks, idle time included. */
  readonly totalNs: number;
  /** Without waiting for work. */
  readonly busyNs: number;
  readonly groups: Readonly<Record<TimeGroup, number>>;
  readonly causes: Readonly<Record<string, number>>;
}

export function timeShares(reports: readonly TaskReport[]): TimeShares {
  const groups = Object.fromEntries(TIME_GROUP_NAMES.map((name) => [name, 0])) as Record<TimeGroup, number>;
  const causes: Record<string, number> = {};
  let totalNs = 0;
  for (const { byCauseNs } of reports) {
    for (const [cause, ns] of Object.entries(byCauseNs)) {
      causes[cause] = (causes[cause] ?? 0) + ns;
      groups[GROUP_OF.get(cause) ?? 'otherWaits'] += ns;
      totalNs += ns;
    }
  }
  return { tasks: reports.length, totalNs, busyNs: totalNs - groups.idle, groups, causes };
}
