/** What recorders record and readers read, on a clock that the test moves. */
import { describe, expect, it } from 'vitest';
import type { Measurement } from '../../../src/engines/measure/measurement.ts';
import { readMeasurement } from '../../../src/engines/measure/read-measurement.ts';
import { createRecorder, EVERYTHING, SAMPLED } from '../../../src/engines/measure/recorder.ts';
import { readSpteChanges } from '../../../src/engines/measure/spte-changes.ts';
import { CHANGES_KEPT, LOCK_SLOTS, StatRegion } from '../../../src/engines/measure/stat-region.ts';
import { LockNumber } from '../../../src/machine/lock-number.ts';
import type { Address } from '../../../src/machine/point.ts';
import { LockMode, type Probe } from '../../../src/machine/probe.ts';
import { Word64 } from '../../../src/machine/word64.ts';
import { MmuCounter } from '../../../src/mmu/counters.ts';
import { asGfn, PG_LEVEL_2M, PG_LEVEL_4K } from '../../../src/mmu/level.ts';
import { RetPf } from '../../../src/mmu/page-fault-info.ts';
import { Site } from '../../../src/mmu/site.ts';
import type { MmuTrace } from '../../../src/mmu/trace.ts';

const { mmuLock, slotsLock } = LockNumber;
const FAULT = Site.kvm_tdp_page_fault;

class Bench {
  now = 1e9;
  readonly region: StatRegion;
  readonly threads: { probe: Probe; trace: MmuTrace; counters: Float64Array }[];

  constructor(threads = 1, sampling = EVERYTHING) {
    this.region = new StatRegion(threads, true);
    this.threads = Array.from({ length: threads }, (_, thread) => {
      const made = createRecorder({ region: this.region, thread, now: () => this.now, seed: thread, sampling });
      return { counters: made.counters, probe: made.probe!, trace: made.trace! };
    });
  }

  /** One acquisition that waits `wait` (0: the lock was free) and holds for `hold`. */
  lock(thread: number, mode: LockMode, site: number, wait: number, hold: number, lock: number = mmuLock): void {
    const { probe } = this.threads[thread];
    probe.lockAttempt(lock, mode, site);
    if (wait > 0) probe.lockContended(lock, mode, site);
    this.now += wait;
    probe.lockAcquired(lock, mode, site);
    this.now += hold;
    probe.lockReleased(lock, mode);
  }

  fault(thread: number, ns: number, result: RetPf): void {
    const { trace } = this.threads[thread];
    trace.pageFault(thread, asGfn(1), 0);
    this.now += ns;
    trace.pageFaultDone(thread, asGfn(1), result);
  }

  read(): Measurement {
    const threads = this.threads.map((_, index) => ({ name: `vcpu ${index}`, role: 'vcpu', index }));
    return readMeasurement(this.region, {
      sampling: EVERYTHING,
      threads,
      vmStats: { pages_4k: 5, tdp_mmu_pages: 3 },
      phases: [
        { name: 'a', ns: 1 },
        { name: 'b', ns: 2 },
        { name: 'a', ns: 3 },
      ],
      tallies: [
        { name: 'pages', n: 4 },
        { name: 'pages', n: 5 },
      ],
    });
  }
}

describe('locks', () => {
  it('are told by lock, mode and caller, those waited for longest first, all threads together', () => {
    const bench = new Bench(2);
    bench.lock(0, LockMode.read, FAULT, 0, 100);
    bench.lock(0, LockMode.read, FAULT, 40, 100);
    bench.lock(1, LockMode.read, FAULT, 60, 400);
    bench.lock(1, LockMode.write, Site.kvm_zap_gfn_range, 5000, 7);
    bench.lock(1, LockMode.write, Site.kvm_set_memory_region, 0, 9, slotsLock);
    const { locks } = bench.read();
    expect(locks.map(({ lock, mode, site, acquisitions, contended }) => [lock, mode, site, acquisitions, contended])).toEqual([
      ['mmu_lock', 'write', 'kvm_zap_gfn_range', 1, 1],
      ['mmu_lock', 'read', 'kvm_tdp_page_fault', 3, 2],
      ['slots_lock', 'write', 'kvm_set_memory_region', 1, 0],
    ]);
    expect(locks[1].wait).toMatchObject({ count: 2, timed: 2, totalNs: 100, meanNs: 50, minNs: 40, maxNs: 60, p50Ns: 40 });
    expect(locks[1].hold).toMatchObject({ count: 3, totalNs: 600, minNs: 100, maxNs: 400 });
    expect(locks[2].wait).toMatchObject({ count: 0, totalNs: 0, meanNs: 0, minNs: 0, maxNs: 0, p99Ns: 0, histogram: [] });
  });

  it('are estimated from samples without bias, and told exactly where they are few or long', () => {
    const bench = new Bench(1, SAMPLED);
    for (let i = 0; i < 200_000; i++) bench.lock(0, LockMode.read, FAULT, 0, 100 + (i % 3) * 100);
    for (let i = 0; i < 50; i++) bench.lock(0, LockMode.write, FAULT, 0, 10);
    for (let i = 0; i < 1000; i++) bench.lock(0, LockMode.write, Site.kvm_mmu_zap_all, 0, 50_000);
    const { locks } = bench.read();
    const [read, long, few] = locks;
    expect(read.acquisitions).toBe(200_000);
    expect(read.hold.timed).toBeGreaterThan(2000);
    expect(read.hold.timed).toBeLessThan(6000);
    expect(read.hold.count / 200_000).toBeCloseTo(1, 1);
    expect(read.hold.totalNs / (200_000 * 200)).toBeCloseTo(1, 1);
    expect(long.hold).toMatchObject({ count: 1000, timed: 1000, totalNs: 50_000_000 });
    expect(few.hold).toMatchObject({ count: 50, timed: 50, totalNs: 500 });
  });

  it('may nest, and each hold is its own', () => {
    const bench = new Bench();
    const { probe } = bench.threads[0];
    probe.lockAcquired(slotsLock, LockMode.write, FAULT);
    bench.now += 10;
    bench.lock(0, LockMode.read, FAULT, 20, 30);
    bench.now += 40;
    probe.lockReleased(slotsLock, LockMode.write);
    const { locks } = bench.read();
    expect(locks.map(({ lock, hold }) => [lock, hold.totalNs])).toEqual([
      ['mmu_lock', 30],
      ['slots_lock', 100],
    ]);
  });

  it('share a row where there are more callers than slots, and none is lost', () => {
    const bench = new Bench();
    for (let site = 0; site < LOCK_SLOTS + 10; site++) bench.lock(0, LockMode.read, site, 1, 1);
    const { locks } = bench.read();
    expect(locks).toHaveLength(LOCK_SLOTS);
    expect(locks.find(({ site }) => site === 'other')).toMatchObject({ lock: 'other', acquisitions: 11, contended: 11 });
  });
});

describe('faults', () => {
  it('are told by outcome and by vCPU', () => {
    const bench = new Bench(2);
    bench.fault(0, 100, RetPf.fixed);
    bench.fault(0, 300, RetPf.fixed);
    bench.fault(1, 50, RetPf.retry);
    const { trace } = bench.threads[1];
    trace.pageFault(1, asGfn(2), 0);
    trace.fastPageFault(1, asGfn(2), 0, 8 as Address, new Word64(1, 0), new Word64(3, 0), RetPf.fixed, PG_LEVEL_4K);
    bench.now += 20;
    trace.pageFaultDone(1, asGfn(2), RetPf.fixed);
    const { faults, threads } = bench.read();
    expect(faults.outcomes.map(({ outcome, latency }) => [outcome, latency.count, latency.totalNs])).toEqual([
      ['fixed', 2, 400],
      ['fast', 1, 20],
      ['retry', 1, 50],
    ]);
    expect(faults.latency).toMatchObject({ count: 4, maxNs: 300 });
    expect(threads.map(({ faultLatency }) => faultLatency.totalNs)).toEqual([400, 70]);
  });

  it('that failed are not told as others', () => {
    const bench = new Bench();
    const { trace } = bench.threads[0];
    trace.pageFault(0, asGfn(2), 0);
    bench.now += 1000;
    bench.fault(0, 10, RetPf.fixed);
    expect(bench.read().faults.latency).toMatchObject({ count: 1, totalNs: 10 });
  });
});

describe('walks', () => {
  it('are charged to the operation that made the steps, the one under way included', () => {
    const bench = new Bench();
    const { trace, counters } = bench.threads[0];
    bench.fault(0, 1, RetPf.fixed);
    counters[MmuCounter.iter_steps] += 4;
    bench.fault(0, 1, RetPf.fixed);
    trace.operation('tdp_map');
    counters[MmuCounter.iter_steps] += 4;
    trace.wrprotSlot(PG_LEVEL_4K);
    counters[MmuCounter.iter_steps] += 500;
    counters[MmuCounter.iter_restarts] += 2;
    trace.operation('zap_all');
    counters[MmuCounter.iter_steps] += 30;
    expect(bench.read().walks.operations).toEqual([
      { operation: 'page_fault', begun: 2, steps: 8, restarts: 0 },
      { operation: 'wrprot_slot', begun: 1, steps: 500, restarts: 2 },
      { operation: 'zap_all', begun: 1, steps: 30, restarts: 0 },
    ]);
  });
});

describe('the rest', () => {
  it('is frozen time, flushes, grace periods, yields, statistics and phases', () => {
    const bench = new Bench(2);
    const { trace, probe, counters } = bench.threads[1];
    trace.spteFrozen(8 as Address, asGfn(3), PG_LEVEL_2M);
    bench.now += 700;
    trace.spteThawed(8 as Address);
    probe.flushDone(1500);
    probe.rcuGracePeriod(90_000);
    trace.yielded('read');
    trace.yielded('write');
    trace.yielded('write');
    counters[MmuCounter.retry_frozen] = 3;
    counters[MmuCounter.pf_fixed] = 2;
    const { frozen, flushes, rcu, yields, faults, kvmStat, otherStat, phases, threads } = bench.read();
    expect(frozen.time).toMatchObject({ count: 1, totalNs: 700 });
    expect(flushes.cost).toMatchObject({ count: 1, totalNs: 1500, maxNs: 1500 });
    expect(rcu.gracePeriod.maxNs).toBe(90_000);
    expect(yields).toMatchObject({ read: 1, write: 2 });
    expect(faults.retries).toMatchObject({ frozen: 3, cmpxchg: 0 });
    expect(kvmStat).toMatchObject({ pf_fixed: 2, pages_4k: 5, remote_tlb_flush: 0, mmu_shadow_zapped: 0 });
    for (const name of ['shadow_zapped', 'dirty_ring_exits', 'tdp_mmu_pages']) expect(kvmStat).not.toHaveProperty(name);
    expect(otherStat).toMatchObject({ dirty_ring_exits: 0, tdp_mmu_pages: 3 });
    expect(phases).toEqual([
      { name: 'a', ns: [1, 3], totalNs: 4 },
      { name: 'b', ns: [2], totalNs: 2 },
    ]);
    expect(threads[1].counters).toEqual({ retry_frozen: 3, pf_fixed: 2 });
    expect(JSON.parse(JSON.stringify(bench.read()))).toEqual(bench.read());
  });

  it('remembers the last SPTE changes in order', () => {
    const bench = new Bench();
    const { trace } = bench.threads[0];
    for (let i = 0; i < CHANGES_KEPT + 3; i++) {
      trace.spteChanged(1, asGfn(2 ** 33 + i), PG_LEVEL_4K, new Word64(i, 0), new Word64(i + 1, -1));
    }
    const changes = readSpteChanges(bench.region, 0);
    expect(changes).toHaveLength(CHANGES_KEPT);
    expect(changes.map(({ gfn }) => gfn - 2 ** 33)).toEqual(Array.from({ length: CHANGES_KEPT }, (_, i) => i + 3));
    expect(changes[0]).toMatchObject({ level: 1, asId: 1, kind: 'changed', old: { lo: 3, hi: 0 }, next: { lo: 4, hi: -1 } });
  });

  it('is counters only where nothing is measured', () => {
    const region = new StatRegion(2, false);
    const { counters, probe, trace } = createRecorder({ region, thread: 1, now: () => 0, seed: 0, sampling: SAMPLED });
    expect([probe, trace]).toEqual([null, null]);
    counters[MmuCounter.pf_taken] = 4;
    const measurement = readMeasurement(region, { sampling: SAMPLED, threads: [], vmStats: {}, phases: [], tallies: [] });
    expect(measurement).toMatchObject({ measured: false, locks: [], faults: { taken: 4, outcomes: [] } });
  });
});
