/**
 * Two recorded runs side by side: every number that both have, with the ratio of the second to the first.
 */
import type { Measurement } from '../engines/measure/measurement.ts';
import { TIME_GROUP_NAMES } from '../engines/virtual/time-shares.ts';
import type { VirtualDetail } from '../engines/virtual/virtual-result.ts';
import { count, duration, ratio } from './quantity.ts';
import { table } from './table.ts';

/** The parts of a run's JSON that are compared. */
export interface ComparedRun {
  readonly workload: string;
  readonly engine: string;
  readonly elapsedNs: number;
  readonly measurement: Measurement;
  readonly virtual?: VirtualDetail;
}

interface Row {
  readonly name: string;
  readonly kind: 'duration' | 'count';
  readonly value: number;
}

function rowsOf({ elapsedNs, measurement, virtual }: ComparedRun): Row[] {
  const time = (name: string, value: number): Row => ({ name, kind: 'duration', value });
  const number = (name: string, value: number): Row => ({ name, kind: 'count', value });
  const { faults, yields, flushes, frozen, pages, locks } = measurement;
  return [
    time('run', elapsedNs),
    ...measurement.phases.map(({ name, totalNs }) => time(`phase ${name}`, totalNs)),
    ...(virtual
      ? TIME_GROUP_NAMES.map((group) => time(`vCPU time: ${group}`, virtual.vcpus.groups[group])).concat([
          time('longest stretch without scheduling', virtual.stall.ns),
          time('longest RCU section', virtual.rcu?.ns ?? 0),
        ])
      : []),
    number('faults taken', faults.taken),
    ...faults.outcomes.map(({ outcome, latency }) => number(`faults ${outcome}`, latency.count)),
    time('fault latency p50', faults.latency.p50Ns),
    time('fault latency p99', faults.latency.p99Ns),
    ...locks.flatMap(({ lock, mode, site, acquisitions, contended, wait, hold }) => {
      const name = `${lock} ${mode} ${site}`;
      return [
        number(`${name}: taken`, acquisitions),
        number(`${name}: waited`, contended),
        time(`${name}: wait`, wait.totalNs),
        time(`${name}: hold`, hold.totalNs),
      ];
    }),
    number('yields, contention', yields.contended),
    number('yields, need_resched', yields.resched),
    number('walk steps', measurement.walks.steps),
    number('TLB flushes', flushes.requested),
    number('vCPUs kicked', flushes.kicks),
    number('frozen SPTEs met', frozen.metByFaults + frozen.metByFastFaults + frozen.metByWalks),
    number('page-table pages', pages.allocated),
    ...Object.entries(measurement.kvmStat).map(([name, value]) => number(`kvm_stat ${name}`, value)),
    ...Object.entries(measurement.otherStat ?? {}).map(([name, value]) => number(name, value)),
  ];
}

/** Rows that are 0 in both runs are left out. */
export function compareRuns(titles: readonly [string, string], a: ComparedRun, b: ComparedRun): string[] {
  const first = new Map(rowsOf(a).map((row) => [row.name, row]));
  const second = new Map(rowsOf(b).map((row) => [row.name, row]));
  const names = [...new Set([...first.keys(), ...second.keys()])];
  const rows = names.flatMap((name) => {
    const { kind } = (first.get(name) ?? second.get(name))!;
    const [x, y] = [first.get(name)?.value ?? 0, second.get(name)?.value ?? 0];
    if (x === 0 && y === 0) return [];
    const text = (n: number): string => (kind === 'duration' ? duration(n) : count(n));
    return [[name, text(x), text(y), ratio(x, y)]];
  });
  return table([{ title: '', align: 'left' }, { title: titles[0] }, { title: titles[1] }, { title: 'ratio' }], rows);
}
