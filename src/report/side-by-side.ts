/**
 * Two runs beside each other, with the ratio of the second to the first.
 */
import type { Measurement } from '../engines/measure/measurement.ts';
import type { FaultOutcomeName } from '../engines/measure/outcomes.ts';
import { phaseTimes, type RunOutcome } from './outcome.ts';
import { count, duration, ratio } from './quantity.ts';
import { outcomeCount } from './run-report.ts';
import { table } from './table.ts';

interface Row {
  readonly name: string;
  readonly kind: 'duration' | 'count';
  value(outcome: RunOutcome): number;
}

const phase =
  (name: string) =>
  (outcome: RunOutcome): number =>
    (phaseTimes(outcome)[name] ?? []).reduce((sum, ns) => sum + ns, 0);

/** Of mmu_lock, in one mode. */
const mmuLock =
  (mode: 'read' | 'write', what: (row: Measurement['locks'][number]) => number) =>
  ({ measurement }: RunOutcome): number =>
    measurement.locks.filter((row) => row.lock === 'mmu_lock' && row.mode === mode).reduce((sum, row) => sum + what(row), 0);

const faults =
  (outcome: FaultOutcomeName) =>
  ({ measurement }: RunOutcome): number =>
    outcomeCount(measurement, outcome);

/** What a dirty-log run is looked at for. */
export const DIRTY_LOG_ROWS: readonly Row[] = [
  { name: 'populate memory time', kind: 'duration', value: phase('populate') },
  { name: 'enabling dirty logging time', kind: 'duration', value: phase('enable') },
  { name: 'dirty memory time', kind: 'duration', value: phase('dirty') },
  { name: 'get dirty log time', kind: 'duration', value: phase('get') },
  { name: 'clear dirty log time', kind: 'duration', value: phase('clear') },
  { name: 'disabling dirty logging time', kind: 'duration', value: phase('disable') },
  { name: 'faults taken', kind: 'count', value: ({ measurement }) => measurement.faults.taken },
  { name: 'faults fixed under mmu_lock', kind: 'count', value: faults('fixed') },
  { name: 'faults fixed without it (fast)', kind: 'count', value: faults('fast') },
  { name: 'faults spurious', kind: 'count', value: faults('spurious') },
  { name: 'faults retried', kind: 'count', value: faults('retry') },
  { name: 'fault latency, p50', kind: 'duration', value: ({ measurement }) => measurement.faults.latency.p50Ns },
  { name: 'fault latency, p99', kind: 'duration', value: ({ measurement }) => measurement.faults.latency.p99Ns },
  { name: 'mmu_lock taken for read', kind: 'count', value: mmuLock('read', (row) => row.acquisitions) },
  { name: 'mmu_lock waits for read', kind: 'count', value: mmuLock('read', (row) => row.contended) },
  { name: 'mmu_lock wait time for read', kind: 'duration', value: mmuLock('read', (row) => row.wait.totalNs) },
  { name: 'mmu_lock taken for write', kind: 'count', value: mmuLock('write', (row) => row.acquisitions) },
  { name: 'mmu_lock waits for write', kind: 'count', value: mmuLock('write', (row) => row.contended) },
  { name: 'mmu_lock wait time for write', kind: 'duration', value: mmuLock('write', (row) => row.wait.totalNs) },
  { name: 'mmu_lock hold time for write', kind: 'duration', value: mmuLock('write', (row) => row.hold.totalNs) },
  { name: 'yields: contention', kind: 'count', value: ({ measurement }) => measurement.yields.contended },
  { name: 'yields: need_resched', kind: 'count', value: ({ measurement }) => measurement.yields.resched },
  { name: 'huge pages split eagerly', kind: 'count', value: ({ measurement }) => measurement.counters.splits_eager ?? 0 },
  { name: 'huge pages split by faults', kind: 'count', value: ({ measurement }) => measurement.counters.splits_fault ?? 0 },
  {
    name: 'SPTE cmpxchgs lost',
    kind: 'count',
    value: ({ measurement }) => measurement.spteUpdates.reduce((sum, { failed }) => sum + failed, 0),
  },
  {
    name: 'frozen SPTEs met',
    kind: 'count',
    value: ({ measurement: { frozen } }) => frozen.metByFaults + frozen.metByFastFaults + frozen.metByWalks,
  },
  { name: 'TLB flushes', kind: 'count', value: ({ measurement }) => measurement.flushes.requested },
  { name: 'page-table pages allocated', kind: 'count', value: ({ measurement }) => measurement.pages.allocated },
];

/** The table: a row of each kind, its value in both runs, and their ratio. */
export function sideBySide(
  titles: readonly [string, string],
  runs: readonly [RunOutcome, RunOutcome],
  rows: readonly Row[],
): string[] {
  return table(
    [
      { title: '', align: 'left' },
      { title: titles[0], width: 18 },
      { title: titles[1], width: 18 },
      { title: 'ratio', width: 8 },
    ],
    rows.map(({ name, kind, value }) => {
      const [a, b] = runs.map(value);
      const text = (n: number): string => (kind === 'duration' ? duration(n) : count(n));
      return [name, text(a), text(b), ratio(a, b)];
    }),
  );
}
