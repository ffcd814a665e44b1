/**
 * Reading the statistics region: all threads added up into a {@link Measurement}. It may be read while they run.
 */
import { allCounters, type CounterDefinition, MACHINE_COUNTERS } from '../../machine/counters.ts';
import { MMU_COUNTERS } from '../../mmu/counters.ts';
import { VCPU_COUNTERS } from '../../vm/vcpu-counters.ts';
import { VM_COUNTERS } from '../../vm/vm-counters.ts';
import { DurationSum } from './durations.ts';
import { readLocks } from './lock-measurements.ts';
import type { Durations, Measurement, OperationMeasurement, ThreadMeasurement } from './measurement.ts';
import { MMU_EVENTS, type MmuEventTable, mmuEventTable } from './mmu-events.ts';
import { OPERATIONS } from './operations.ts';
import { FAULT_OUTCOMES } from './outcomes.ts';
import type { Sampling } from './recorder.ts';
import {
  DISTRIBUTION_DOUBLES,
  LiveField,
  OPERATION_DOUBLES,
  OperationField,
  type StatField,
  type StatRegion,
} from './stat-region.ts';

export interface ReadOptions {
  readonly sampling: Sampling;
  readonly threads: readonly { readonly name: string; readonly role: string; readonly index: number }[];
  /** Statistics of the VM that no thread counts for itself: pages_4k and the like. */
  readonly vmStats: Readonly<Record<string, number>>;
  readonly phases: readonly { readonly name: string; readonly ns: number }[];
  readonly tallies: readonly { readonly name: string; readonly n: number }[];
}

const KINDS = ['link', 'leaf', 'split', 'zap', 'protect', 'fast', 'collapse'] as const;
const TABLES: readonly CounterDefinition[] = [...MMU_COUNTERS, ...VCPU_COUNTERS, ...VM_COUNTERS, ...MACHINE_COUNTERS];
/** Counters that kvm_stat has, with its names for them. */
const KVM_STAT = TABLES.flatMap(({ name, kvmStat }) => (kvmStat === undefined ? [] : [{ name, kvmStat }]));
const KVM_STAT_NAMES = new Set(KVM_STAT.map(({ kvmStat }) => kvmStat));
/** Counters that stand beside those of kvm_stat, but are no part of it. */
const BESIDE_KVM_STAT = ['dirty_ring_exits', 'pml_full_exits', 'nx_recovered'] as const;

export function readMeasurement(region: StatRegion, options: ReadOptions): Measurement {
  const ids = Array.from({ length: region.threads }, (_, i) => i);
  const perThread = ids.map((id) => countersOf(region, id));
  const counters: Record<string, number> = {};
  for (const { name } of allCounters()) counters[name] = perThread.reduce((sum, own) => sum + own[name], 0);
  const live = (field: number): number =>
    region.measured ? ids.reduce((sum, id) => sum + region.doubles[region.offset(id, 'live') + field], 0) : 0;
  const vmStats = Object.entries(options.vmStats);
  const all = (field: StatField): Durations => sumOf(region, ids, [field, 0]);

  return {
    measured: region.measured,
    sampling: options.sampling,
    threads: options.threads.map((thread, id): ThreadMeasurement => {
      const own = Object.fromEntries(Object.entries(perThread[id]).filter(([, n]) => n !== 0));
      return { ...thread, counters: own, faultLatency: faultLatency(region, [id]) };
    }),
    counters,
    mmuEvents: readMmuEvents(region),
    locks: readLocks(region),
    yields: {
      tests: counters.resched_tests,
      contended: counters.yields_contended,
      resched: counters.yields_resched,
      read: live(LiveField.yieldsRead),
      write: live(LiveField.yieldsWrite),
    },
    walks: {
      begun: counters.iter_walks,
      steps: counters.iter_steps,
      restarts: counters.iter_restarts,
      operations: readOperations(region, perThread),
    },
    spteUpdates: KINDS.map((kind) => ({
      kind,
      attempts: counters[`cmpxchg_${kind}`],
      failed: counters[`cmpxchg_${kind}_failed`],
    })),
    frozen: {
      frozen: counters.freezes,
      metByFaults: counters.frozen_met_fault,
      metByFastFaults: counters.frozen_met_fast,
      metByWalks: counters.frozen_met_walk,
      spins: counters.frozen_spins,
      time: all('frozen'),
    },
    faults: {
      taken: counters.pf_taken,
      outcomes: FAULT_OUTCOMES.map((outcome, i) => ({
        outcome,
        latency: sumOf(region, ids, ['faults', i * DISTRIBUTION_DOUBLES]),
      })).filter(({ latency }) => latency.count > 0),
      retries: Object.fromEntries(
        Object.entries(counters).flatMap(([name, n]) => (name.startsWith('retry_') ? [[name.slice('retry_'.length), n]] : [])),
      ),
      latency: faultLatency(region, ids),
    },
    flushes: {
      requested: counters.flushRequests,
      needed: counters.flushesKicked,
      acknowledged: counters.flushAcks,
      kicks: counters.kicks,
      cost: all('flush'),
    },
    rcu: {
      gracePeriods: counters.rcuGracePeriods,
      srcuGracePeriods: counters.srcuGracePeriods,
      pagesQueued: counters.rcuPagesQueued,
      pagesFreed: counters.rcuPagesFreed,
      gracePeriod: all('gracePeriod'),
    },
    pages: {
      allocated: counters.pagesAllocated,
      reused: counters.pagesReused,
      freed: counters.pagesFreed,
      failed: counters.allocationsFailed,
    },
    kvmStat: {
      ...Object.fromEntries(KVM_STAT.map(({ name, kvmStat }) => [kvmStat, counters[name]])),
      ...Object.fromEntries(vmStats.filter(([name]) => KVM_STAT_NAMES.has(name))),
    },
    otherStat: {
      ...Object.fromEntries(BESIDE_KVM_STAT.map((name) => [name, counters[name]])),
      ...Object.fromEntries(vmStats.filter(([name]) => !KVM_STAT_NAMES.has(name))),
    },
    phases: bySeries(options.phases.map(({ name, ns }) => ({ name, n: ns }))).map(([name, ns]) => ({
      name,
      ns,
      totalNs: ns.reduce((sum, n) => sum + n, 0),
    })),
    tallies: bySeries(options.tallies).map(([name, values]) => ({ name, values })),
  };
}

function countersOf(region: StatRegion, thread: number): Record<string, number> {
  const values = region.counters(thread);
  return Object.fromEntries(allCounters().map(({ name, index }) => [name, values[index]]));
}

/** What the MMU's tracepoints reported, of all threads together. */
export function readMmuEvents(region: StatRegion): MmuEventTable {
  const sums = new Float64Array(MMU_EVENTS.length);
  for (let thread = 0; region.measured && thread < region.threads; thread++) {
    const own = region.offset(thread, 'mmuEvents');
    for (let i = 0; i < sums.length; i++) sums[i] += region.doubles[own + i];
  }
  return mmuEventTable(sums);
}

function sumOf(region: StatRegion, threads: readonly number[], ...fields: readonly (readonly [StatField, number])[]): Durations {
  const sum = new DurationSum();
  if (region.measured) {
    for (const thread of threads) for (const [field, at] of fields) sum.add(region, region.offset(thread, field) + at);
  }
  return sum.durations;
}

function faultLatency(region: StatRegion, threads: readonly number[]): Durations {
  return sumOf(region, threads, ...FAULT_OUTCOMES.map((_, i) => ['faults', i * DISTRIBUTION_DOUBLES] as const));
}

/** The operation under way has not been charged yet: what was counted since it began is its own. */
function readOperations(region: StatRegion, counters: readonly Record<string, number>[]): OperationMeasurement[] {
  if (!region.measured) return [];
  const { doubles } = region;
  const sums = OPERATIONS.map((operation) => ({ operation, begun: 0, steps: 0, restarts: 0 }));
  for (let thread = 0; thread < region.threads; thread++) {
    const live = region.offset(thread, 'live');
    const current = sums[doubles[live + LiveField.operation]];
    current.steps += counters[thread].iter_steps - doubles[live + LiveField.stepsBefore];
    current.restarts += counters[thread].iter_restarts - doubles[live + LiveField.restartsBefore];
    for (const [i, sum] of sums.entries()) {
      const base = region.offset(thread, 'operations') + i * OPERATION_DOUBLES;
      sum.begun += doubles[base + OperationField.begun];
      sum.steps += doubles[base + OperationField.steps];
      sum.restarts += doubles[base + OperationField.restarts];
    }
  }
  return sums.filter(({ begun, steps }) => begun > 0 || steps > 0);
}

/** Numbers by name, in the order in which names came up first. */
function bySeries(rows: readonly { readonly name: string; readonly n: number }[]): [string, number[]][] {
  const series = new Map<string, number[]>();
  for (const { name, n } of rows) {
    const known = series.get(name);
    if (known) known.push(n);
    else series.set(name, [n]);
  }
  return [...series];
}
