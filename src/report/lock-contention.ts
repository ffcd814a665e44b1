/**
 * Locks by mode and caller in the column layout of `perf lock contention`, with what it does not have behind the caller:
 * acquisitions, percentiles of the waits, hold times.
 */
import type { LockMeasurement } from '../engines/measure/measurement.ts';
import { count, duration } from './quantity.ts';
import { type Column, table } from './table.ts';

const MUTEXES = new Set(['slots_lock', 'slots_arch_lock', 'mmap_lock']);

/** What perf calls the kind of a lock. */
export function lockType({ lock, mode }: LockMeasurement, mmuLock: 'rwlock' | 'spinlock'): string {
  if (MUTEXES.has(lock)) return 'mutex';
  if (lock !== 'mmu_lock' || mmuLock === 'spinlock') return 'spinlock';
  return mode === 'read' ? 'rwlock:R' : 'rwlock:W';
}

/** perf's columns, in its order and with its widths; then ours. */
const COLUMNS: readonly Column[] = [
  { title: 'contended', width: 10 },
  { title: 'total wait', width: 11 },
  { title: 'max wait', width: 11 },
  { title: 'avg wait', width: 11 },
  { title: 'type', width: 11 },
  { title: 'caller', align: 'left' },
  { title: 'lock', align: 'left' },
  { title: 'acquired' },
  { title: 'p50 wait' },
  { title: 'p99 wait' },
  { title: 'avg hold' },
  { title: 'p99 hold' },
  { title: 'max hold' },
];

/** Longest total wait first; locks that nobody waited for after those, longest held first. */
export function byWait(a: LockMeasurement, b: LockMeasurement): number {
  return b.wait.totalNs - a.wait.totalNs || b.hold.totalNs - a.hold.totalNs || b.acquisitions - a.acquisitions;
}

/** The `most` first of `locks`, and mmu_lock in any case. */
export function foremostLocks(locks: readonly LockMeasurement[], most: number): LockMeasurement[] {
  return [...locks].sort(byWait).filter(({ lock }, i) => i < most || lock === 'mmu_lock');
}

export function lockContention(locks: readonly LockMeasurement[], mmuLock: 'rwlock' | 'spinlock'): string[] {
  const rows = [...locks].sort(byWait).map((row) => {
    const { wait, hold } = row;
    const waited = (ns: number): string => (row.contended === 0 ? '-' : duration(ns));
    const held = (ns: number): string => (hold.count === 0 ? '-' : duration(ns));
    return [
      count(row.contended),
      waited(wait.totalNs),
      waited(wait.maxNs),
      waited(wait.meanNs),
      lockType(row, mmuLock),
      row.site,
      row.lock,
      count(row.acquisitions),
      waited(wait.p50Ns),
      waited(wait.p99Ns),
      held(hold.meanNs),
      held(hold.p99Ns),
      held(hold.maxNs),
    ];
  });
  return table(COLUMNS, rows);
}
