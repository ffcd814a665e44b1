/**
 * Locks in the layout of `/proc/lock_stat` (kernel: Documentation/locking/lockstat.rst).
 *
 * Times are microseconds. Bounces between processors (`con-bounces`, `acq-bounces`) are 0, with a note: threads cannot see on
 * which processor they are.
 */
import type { Durations, LockMeasurement } from '../engines/measure/measurement.ts';

const CLASS_WIDTH = 40;
const COLUMN_WIDTH = 15;

const COLUMNS = [
  'con-bounces',
  'contentions',
  'waittime-min',
  'waittime-max',
  'waittime-total',
  'waittime-avg',
  'acq-bounces',
  'acquisitions',
  'holdtime-min',
  'holdtime-max',
  'holdtime-total',
  'holdtime-avg',
] as const;

/** Bounces: see above. */
const NO_BOUNCES = '0';
/** Said below the table. */
export const BOUNCES_NOTE = 'con-bounces and acq-bounces are 0: the model has none, as threads do not see their processor.';

const micro = (ns: number): string => (ns / 1000).toFixed(2);
const cells = (values: readonly string[]): string => values.map((value) => value.padStart(COLUMN_WIDTH)).join('');
const RULE = '-'.repeat(CLASS_WIDTH + 1 + COLUMN_WIDTH * COLUMNS.length);

/** What lockdep calls the locks that are no members of struct kvm. */
const CLASS_NAMES: Readonly<Record<string, string>> = {
  mmap_lock: '&mm->mmap_lock',
  host_page_table_lock: 'ptlock_ptr(ptdesc)',
  page_allocator: '&zone->lock',
  rcu: 'rcu_state.barrier_lock',
  workqueue: '&pool->lock',
};

const className = (lock: string): string => CLASS_NAMES[lock] ?? `&kvm->${lock}`;

/** The table. Locks that were taken for read as well have a line for each mode. */
export function lockStat(locks: readonly LockMeasurement[]): string[] {
  const lines = ['lock_stat version 0.4', RULE, `${'class name'.padStart(CLASS_WIDTH)} ${cells(COLUMNS)}`, RULE, ''];
  const names = [...new Set(locks.map(({ lock }) => lock))];
  const waited = (name: string): number => locks.reduce((sum, row) => sum + (row.lock === name ? row.wait.totalNs : 0), 0);
  for (const name of names.sort((a, b) => waited(b) - waited(a))) {
    const both = locks.filter(({ lock }) => lock === name);
    const shared = both.some(({ mode }) => mode === 'read');
    for (const mode of ['write', 'read'] as const) {
      const rows = both.filter((row) => row.mode === mode);
      if (rows.length === 0) continue;
      lines.push(classLine(shared ? `${className(name)}-${mode === 'write' ? 'W' : 'R'}` : className(name), rows));
    }
    lines.push(...contentionPoints(className(name), both), '');
  }
  lines.push(BOUNCES_NOTE);
  return lines;
}

function classLine(name: string, rows: readonly LockMeasurement[]): string {
  const sum = (value: (row: LockMeasurement) => number): number => rows.reduce((total, row) => total + value(row), 0);
  const max = (value: (row: LockMeasurement) => number): number => Math.max(0, ...rows.map(value));
  const min = (durations: (row: LockMeasurement) => Durations): number => {
    const timed = rows.map(durations).filter((row) => row.timed > 0);
    return timed.length === 0 ? 0 : Math.min(...timed.map(({ minNs }) => minNs));
  };
  const contended = sum((row) => row.contended);
  const acquisitions = sum((row) => row.acquisitions);
  const waited = sum((row) => row.wait.totalNs);
  const held = sum((row) => row.hold.totalNs);
  const values = [
    NO_BOUNCES,
    String(contended),
    micro(min((row) => row.wait)),
    micro(max((row) => row.wait.maxNs)),
    micro(waited),
    micro(contended === 0 ? 0 : waited / contended),
    NO_BOUNCES,
    String(acquisitions),
    micro(min((row) => row.hold)),
    micro(max((row) => row.hold.maxNs)),
    micro(held),
    micro(acquisitions === 0 ? 0 : held / acquisitions),
  ];
  return `${`${name}:`.padStart(CLASS_WIDTH)} ${cells(values)}`;
}

/** Who had to wait: as the kernel lists them below the class. */
function contentionPoints(name: string, rows: readonly LockMeasurement[]): string[] {
  const points = rows.filter(({ contended }) => contended > 0).sort((a, b) => b.contended - a.contended);
  if (points.length === 0) return [];
  const rule = '-'.repeat(name.length).padStart(CLASS_WIDTH - 1);
  return [
    rule,
    ...points.map(
      ({ contended, site }) => `${name.padStart(CLASS_WIDTH - 1)} ${String(contended).padStart(COLUMN_WIDTH)}          ${site}`,
    ),
  ];
}
