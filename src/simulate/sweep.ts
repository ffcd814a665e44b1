/**
 * A grid of simulations: a workload by number of vCPUs, for each variant of its other settings.
 */

import { chart } from '../report/chart.ts';
import { asCsv } from '../report/csv.ts';
import { count, duration } from '../report/quantity.ts';
import { table } from '../report/table.ts';
import type { SimulationOutcome } from './simulation.ts';

/** One simulation of a sweep, as tables show it. */
export interface SweepPoint {
  /** `lock=rwlock`, or empty where there is one variant only. */
  readonly variant: string;
  readonly vcpus: number;
  readonly profile: string;
  readonly complete: boolean;
  readonly elapsedNs: number;
  readonly faults: number;
  /** A second of virtual time, all vCPUs together. */
  readonly faultsPerSecond: number;
  /** Guest accesses a second of virtual time, all vCPUs together. */
  readonly accessesPerSecond: number;
  /** Shares of the vCPUs' time, 0 to 1. */
  readonly mmuLock: number;
  readonly cacheLine: number;
  readonly flushes: number;
  readonly faultP99Ns: number;
  readonly stallNs: number;
  readonly realSeconds: number;
}

export function sweepPoint(variant: string, vcpus: number, outcome: SimulationOutcome): SweepPoint {
  const { measurement, virtual, result, realSeconds } = outcome;
  const { groups, totalNs } = virtual.vcpus;
  // Without the making of the VM, where the workload tells the two apart.
  const execution = measurement.phases.find(({ name }) => name === 'execution');
  const elapsedNs = execution?.totalNs ?? result.elapsedNs;
  const seconds = elapsedNs / 1e9;
  return {
    variant,
    vcpus,
    profile: virtual.profile,
    complete: result.complete,
    elapsedNs,
    faults: measurement.faults.taken,
    faultsPerSecond: measurement.faults.taken / seconds,
    accessesPerSecond: measurement.counters.guest_accesses / seconds,
    mmuLock: groups.mmuLock / totalNs,
    cacheLine: groups.cacheLine / totalNs,
    flushes: measurement.flushes.requested,
    faultP99Ns: measurement.faults.latency.p99Ns,
    stallNs: virtual.stall.ns,
    realSeconds,
  };
}

/** A doubling of the vCPUs must bring at least this much more throughput for a variant to count as scaling. */
const SCALING_MIN = 1.25;

/**
 * Where a variant stops scaling: the number of vCPUs from which on no further point brings {@link SCALING_MIN} times the
 * throughput a doubling. Null where it scales to the end.
 */
export function kneeOf(points: readonly SweepPoint[]): number | null {
  const sorted = [...points].sort((a, b) => a.vcpus - b.vcpus);
  let knee: number | null = null;
  for (let i = 1; i < sorted.length; i++) {
    const [before, after] = [sorted[i - 1], sorted[i]];
    const doublings = Math.log2(after.vcpus / before.vcpus);
    const scales = after.accessesPerSecond / before.accessesPerSecond >= SCALING_MIN ** doublings;
    if (scales) knee = null;
    else knee ??= before.vcpus;
  }
  return knee;
}

export const variantsOf = (points: readonly SweepPoint[]): string[] => [...new Set(points.map(({ variant }) => variant))];

export function sweepReport(points: readonly SweepPoint[]): string[] {
  const variants = variantsOf(points);
  const share = (part: number): string => `${(100 * part).toFixed(1)} %`;
  const rows = points.map((p) => [
    p.variant,
    String(p.vcpus),
    duration(p.elapsedNs),
    count(p.faults),
    count(p.faultsPerSecond),
    share(p.mmuLock),
    share(p.cacheLine),
    duration(p.faultP99Ns),
    p.complete ? '' : 'incomplete',
  ]);
  const axis = [...new Set(points.map(({ vcpus }) => vcpus))].sort((a, b) => a - b);
  const curves = variants.map((variant) => ({
    name: variant || 'throughput',
    values: axis.map((n) => points.find((p) => p.variant === variant && p.vcpus === n)?.accessesPerSecond ?? Number.NaN),
  }));
  const titles = ['vCPUs', 'time', 'faults', 'faults/s', 'mmu_lock', 'cache lines', 'fault p99', ''];
  return [
    ...table([{ title: 'variant', align: 'left' }, ...titles.map((title) => ({ title }))], rows),
    '',
    'guest accesses a second, all vCPUs together, by number of vCPUs:',
    ...chart(axis, curves),
    '',
    ...variants.map((variant) => {
      const knee = kneeOf(points.filter((p) => p.variant === variant));
      const name = variant || 'the workload';
      return knee === null ? `${name} scales to the end` : `${name} stops scaling at ${knee} vCPU${knee === 1 ? '' : 's'}`;
    }),
  ];
}

export const sweepCsv = (points: readonly SweepPoint[]): string => asCsv(points);
