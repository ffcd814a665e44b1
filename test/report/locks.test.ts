import { describe, expect, it } from 'vitest';
import type { Durations, LockMeasurement } from '../../src/engines/measure/measurement.ts';
import { foremostLocks, lockContention } from '../../src/report/lock-contention.ts';
import { lockStat } from '../../src/report/lock-stat.ts';

const durations = (count: number, meanNs: number, maxNs: number): Durations => ({
  count,
  timed: count,
  totalNs: count * meanNs,
  meanNs,
  p50Ns: meanNs,
  p90Ns: maxNs,
  p99Ns: maxNs,
  p999Ns: maxNs,
  minNs: meanNs / 2,
  maxNs,
  histogram: [],
});

const LOCKS: readonly LockMeasurement[] = [
  {
    lock: 'mmu_lock',
    mode: 'write',
    site: 'kvm_clear_dirty_log_protect',
    acquisitions: 12,
    contended: 2,
    wait: durations(2, 1_000_000, 1_500_000),
    hold: durations(12, 20_000, 90_000),
  },
  {
    lock: 'mmu_lock',
    mode: 'read',
    site: 'kvm_tdp_page_fault',
    acquisitions: 123_456,
    contended: 4,
    wait: durations(4, 2_630_000, 5_000_000),
    hold: durations(123_456, 900, 70_000),
  },
  {
    lock: 'slots_lock',
    mode: 'write',
    site: 'kvm_set_memory_region',
    acquisitions: 2,
    contended: 0,
    wait: durations(0, 0, 0),
    hold: durations(2, 5_000, 6_000),
  },
];

describe('perf lock contention', () => {
  const lines = lockContention(LOCKS, 'rwlock');

  it('has the columns of perf first, in its order', () => {
    expect(lines[0]).toMatch(/^ contended {3,}total wait {3,}max wait {3,}avg wait {3,}type {2,}caller/);
    expect(lines[0]).toMatch(/lock +acquired +p50 wait +p99 wait +avg hold +p99 hold +max hold$/);
  });

  it('sorts by total wait, and names types as perf does', () => {
    expect(lines[1]).toMatch(/^ +4 +10\.52 ms +5\.00 ms +2\.63 ms +rwlock:R +kvm_tdp_page_fault +mmu_lock +123,456 /);
    expect(lines[2]).toMatch(/^ +2 +2\.00 ms +1\.50 ms +1\.00 ms +rwlock:W +kvm_clear_dirty_log_protect +mmu_lock +12 /);
    expect(lines[3]).toMatch(/^ +0 +- +- +- +mutex +kvm_set_memory_region +slots_lock +2 +- +- +5\.00 us +6\.00 us +6\.00 us$/);
  });

  it('puts what was held longest first where nobody waited, and leaves no mmu_lock out of the foremost', () => {
    const none = durations(0, 0, 0);
    const lock = (name: string, taken: number, holdNs: number): LockMeasurement => ({
      ...LOCKS[2],
      lock: name,
      acquisitions: taken,
      wait: none,
      hold: durations(taken, holdNs, holdNs),
    });
    const locks = [lock('page_allocator', 1000, 1), lock('mmap_lock', 2, 9000), lock('mmu_lock', 3, 2), lock('rcu', 1, 1)];
    const names = foremostLocks(locks, 1).map((row) => row.lock);
    expect(names).toEqual(['mmap_lock', 'mmu_lock']);
    expect(foremostLocks(locks, 9).map((row) => row.lock)).toEqual(['mmap_lock', 'page_allocator', 'mmu_lock', 'rcu']);
  });

  it('calls mmu_lock a spinlock where it is one', () => {
    expect(lockContention(LOCKS, 'spinlock')[1]).toContain(' spinlock ');
  });
});

describe('/proc/lock_stat', () => {
  const lines = lockStat(LOCKS);

  it('has the header of the kernel', () => {
    expect(lines[0]).toBe('lock_stat version 0.4');
    expect(lines[2].trim().split(/\s+/)).toEqual([
      'class',
      'name',
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
    ]);
  });

  it('has a line for each class and mode, in microseconds', () => {
    const row = (name: string): string[] =>
      lines
        .find((line) => line.trim().startsWith(`${name}:`))!
        .trim()
        .split(/\s+/);
    expect(row('&kvm->mmu_lock-R')).toEqual(
      '&kvm->mmu_lock-R: 0 4 1315.00 5000.00 10520.00 2630.00 0 123456 0.45 70.00 111110.40 0.90'.split(' '),
    );
    expect(row('&kvm->mmu_lock-W').slice(1, 4)).toEqual(['0', '2', '500.00']);
    expect(row('&kvm->slots_lock').slice(1, 5)).toEqual(['0', '0', '0.00', '0.00']);
    expect(row('&kvm->slots_lock')).toContain('2');
  });

  it('says why nothing bounces', () => {
    expect(lines.at(-1)).toMatch(/^con-bounces and acq-bounces are 0: the model has none/);
  });

  it('aligns values under their titles', () => {
    const end = lines[2].indexOf('acquisitions') + 'acquisitions'.length;
    const line = lines.find((text) => text.includes('mmu_lock-R:'))!;
    expect(line.slice(end - 6, end)).toBe('123456');
  });

  it('lists who had to wait below the class, most often first', () => {
    const at = lines.findIndex((line) => line.includes('mmu_lock-R:'));
    expect(lines[at + 1].trim()).toBe('--------------');
    expect(lines[at + 2].trim().split(/\s+/)).toEqual(['&kvm->mmu_lock', '4', 'kvm_tdp_page_fault']);
    expect(lines[at + 3].trim().split(/\s+/)).toEqual(['&kvm->mmu_lock', '2', 'kvm_clear_dirty_log_protect']);
  });
});
