/**
 * The report of one run for a terminal.
 */
import type { Durations, Measurement } from '../engines/measure/measurement.ts';
import type { FaultOutcomeName } from '../engines/measure/outcomes.ts';
import { stallDetails } from '../engines/threads/stall.ts';
import { lockContention } from './lock-contention.ts';
import { lockStat } from './lock-stat.ts';
import { type RunOutcome, workloadLines } from './outcome.ts';
import { count, duration, percent } from './quantity.ts';
import { heading, paint, type Style } from './style.ts';
import { flow, pairs, table } from './table.ts';
import { compareEvents, comparisonLines } from './trace-comparison.ts';
import { type Verdict, verdictLine, violationsOf } from './verdict.ts';

export interface ReportOptions {
  readonly style: Style;
  /** Locks in the layout of /proc/lock_stat instead of that of perf. */
  readonly lockstat: boolean;
}

/** Violations that are printed; JSON has all that were kept. */
const VIOLATIONS_SHOWN = 10;

/** All lines of the report but the verdict. */
export function runReport(outcome: RunOutcome, options: ReportOptions): string[] {
  const { measurement, plan, result } = outcome;
  const { style } = options;
  const section = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : ['', heading(style, title), ...lines];
  const mmuLock = plan.vm.lock ?? 'rwlock';
  const locks = options.lockstat ? lockStat(measurement.locks) : lockContention(measurement.locks, mmuLock);
  const partial = result.complete
    ? []
    : ['', paint(style, 'yellow', `incomplete: ${result.reason}; what follows was measured until then`)];
  return [
    ...outcome.notes,
    ...workloadLines(outcome),
    ...partial,
    ...section('Recorded and replayed', recordedLines(outcome)),
    ...section('Locks, by mode and caller', measurement.measured ? [...locks, ...holdNote(measurement)] : ['  not measured']),
    ...section('Faults', faultLines(measurement)),
    ...section('SPTE updates', updateLines(measurement)),
    ...section('Walks and yields', walkLines(measurement)),
    ...section('TLB flushes, RCU, page-table pages', machineLines(measurement)),
    ...section('kvm_stat', statLines(measurement.kvmStat, style)),
    ...section('Statistics that kvm_stat does not have', statLines(measurement.otherStat, style)),
    ...section('Phases', phaseLines(measurement)),
    ...section('Threads', [
      `  start-up ${duration(result.startupNs)}, run ${duration(result.elapsedNs)}`,
      ...threadLines(outcome),
    ]),
    ...section('Failures', failureLines(outcome)),
    ...section('Violations', violationLines(outcome)),
    ...(outcome.skippedCheckpoints > 0
      ? ['', `${outcome.skippedCheckpoints} checkpoints were not examined: it takes too long`]
      : []),
  ];
}

function recordedLines({ recorded, measurement }: RunOutcome): string[] {
  return recorded === undefined ? [] : comparisonLines(compareEvents(recorded, measurement.mmuEvents));
}

/** The verdict as the last line. */
export function verdictText(verdict: Verdict, style: Style): string {
  return paint(style, verdict.kind === 'PASS' ? 'green' : verdict.kind === 'FAIL' ? 'red' : 'yellow', verdictLine(verdict));
}

function statLines(stats: Readonly<Record<string, number>>, style: Style): string[] {
  return flow(
    Object.entries(stats).map(([name, n]) => `${name} ${count(n)}`),
    style.width,
  );
}

/** What sampling means for the numbers above; nothing where everything was timed. */
function samplingLines(measurement: Measurement, rows: readonly Durations[], text: string): string[] {
  return measurement.measured && rows.some(({ count: all, timed }) => timed < all) ? [`  ${text}`] : [];
}

function holdNote(measurement: Measurement): string[] {
  const { locks, sampling } = measurement;
  const text = `Waits are all timed. Of the holds of locks that were free 1 in ${sampling.locks} is: ${MAX_NOTE}, and a minimum an upper one.`;
  return samplingLines(
    measurement,
    locks.map(({ hold }) => hold),
    text,
  );
}

const MAX_NOTE = 'a maximum is the longest that was timed: a lower bound';

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Faults that ended so, by the exact counters; latencies are of those that were timed. */
export function outcomeCount({ counters, faults }: Measurement, outcome: FaultOutcomeName): number {
  // The kernel's pf_fixed counts what the fast path fixed as well, and its pf_fast what the fast path found spurious.
  const fast = counters.cmpxchg_fast - counters.cmpxchg_fast_failed;
  const counts: Readonly<Record<FaultOutcomeName, number>> = {
    fixed: counters.pf_fixed - fast,
    fast,
    spurious: counters.pf_spurious,
    retry: sum(Object.values(faults.retries)),
    emulate: counters.pf_emulate,
    'write-protected': counters.pf_write_protected,
    other: counters.pf_error,
  };
  return counts[outcome];
}

function faultLines(measurement: Measurement): string[] {
  const { faults, threads, sampling } = measurement;
  const rows = faults.outcomes
    .map(({ outcome, latency }) => ({ outcome, latency, n: outcomeCount(measurement, outcome) }))
    .filter(({ n }) => n > 0)
    .map(({ outcome, latency, n }) => [
      `  ${outcome}`,
      count(n),
      percent(n, faults.taken),
      ...[latency.meanNs, latency.p50Ns, latency.p99Ns, latency.maxNs].map(duration),
    ]);
  const retries = Object.entries(faults.retries).filter(([, n]) => n > 0);
  const latencies = threads
    .filter(({ role, faultLatency }) => role === 'vcpu' && faultLatency.count > 0)
    .map(({ name, counters, faultLatency: { p50Ns, p90Ns, p99Ns, p999Ns, maxNs } }) => [
      `  ${name}`,
      count(counters.pf_taken ?? 0),
      ...[p50Ns, p90Ns, p99Ns, p999Ns, maxNs].map(duration),
    ]);
  const columns = (first: string, ...rest: string[]) => [
    { title: `  ${first}`, align: 'left' as const },
    ...rest.map((title) => ({ title })),
  ];
  return [
    `  taken ${count(faults.taken)}${retries.length > 0 ? `; retried: ${retries.map(([name, n]) => `${name} ${count(n)}`).join(', ')}` : ''}`,
    ...(rows.length === 0 ? [] : table(columns('outcome', 'faults', '', 'avg', 'p50', 'p99', 'max'), rows)),
    ...(latencies.length === 0 ? [] : table(columns('latency', 'faults', 'p50', 'p90', 'p99', 'p99.9', 'max'), latencies)),
    ...samplingLines(measurement, [faults.latency], `Latencies are of 1 fault in ${sampling.faults}: ${MAX_NOTE}.`),
  ];
}

function updateLines({ spteUpdates, frozen }: Measurement): string[] {
  const rows = spteUpdates
    .filter(({ attempts }) => attempts > 0)
    .map(({ kind, attempts, failed }) => [`  ${kind}`, count(attempts), count(failed), percent(failed, attempts)]);
  const { time } = frozen;
  return [
    ...table([{ title: '  cmpxchg for', align: 'left' }, { title: 'attempts' }, { title: 'lost' }, { title: '' }], rows),
    `  frozen ${count(frozen.frozen)}; met by faults ${count(frozen.metByFaults)}, by fast faults ${count(frozen.metByFastFaults)}, by walks ${count(frozen.metByWalks)}; turns waited ${count(frozen.spins)}`,
    ...(time.count > 0
      ? [`  frozen for: avg ${duration(time.meanNs)}, p99 ${duration(time.p99Ns)}, max ${duration(time.maxNs)}`]
      : []),
  ];
}

function walkLines({ walks, yields }: Measurement): string[] {
  const rows = walks.operations
    .filter(({ begun }) => begun > 0)
    .map(({ operation, begun, steps, restarts }) => [
      `  ${operation}`,
      count(begun),
      count(steps),
      (steps / begun).toFixed(1),
      count(restarts),
    ]);
  return [
    ...table(
      [
        { title: '  operation', align: 'left' },
        { title: 'begun' },
        { title: 'steps' },
        { title: 'steps each' },
        { title: 'restarts' },
      ],
      rows,
    ),
    `  yields: tested ${count(yields.tests)}, because of contention ${count(yields.contended)}, of need_resched ${count(yields.resched)}; mmu_lock dropped for read ${count(yields.read)}, for write ${count(yields.write)}`,
  ];
}

/** A dash where nothing was timed: 0 ns would be a measurement. */
const timed = (durations: Durations, what: 'meanNs' | 'p99Ns'): string =>
  durations.count === 0 ? '-' : duration(durations[what]);

function machineLines({ flushes, rcu, pages }: Measurement): string[] {
  return pairs([
    ['TLB flushes requested', count(flushes.requested)],
    ['needed (a vCPU was in the guest)', count(flushes.needed)],
    ['vCPUs kicked', count(flushes.kicks)],
    ['acknowledged', count(flushes.acknowledged)],
    ['cost of a flush, avg', timed(flushes.cost, 'meanNs')],
    ['cost of a flush, p99', timed(flushes.cost, 'p99Ns')],
    ['RCU grace periods', count(rcu.gracePeriods)],
    ['SRCU grace periods', count(rcu.srcuGracePeriods)],
    ['grace period, avg', timed(rcu.gracePeriod, 'meanNs')],
    ['page-table pages queued for RCU', count(rcu.pagesQueued)],
    ['page-table pages allocated', count(pages.allocated)],
    ['of them reused', count(pages.reused)],
    ['freed', count(pages.freed)],
    ['allocations failed', count(pages.failed)],
  ]);
}

function phaseLines({ phases }: Measurement): string[] {
  return table(
    [{ title: '  phase', align: 'left' }, { title: 'times' }, { title: 'total' }, { title: 'avg' }, { title: 'max' }],
    phases.map(({ name, ns, totalNs }) => [
      `  ${name}`,
      count(ns.length),
      duration(totalNs),
      duration(totalNs / ns.length),
      duration(Math.max(...ns)),
    ]),
  ).slice(phases.length === 0 ? 1 : 0);
}

/** Threads that did not come to their end, or hold what they should not; the rest is told by their number. */
function threadLines({ result }: RunOutcome): string[] {
  const odd = result.threads.filter(({ state, holds }) => state !== 'done' || holds.length > 0);
  const lines = odd.map(
    ({ name, state, holds }) => `  ${name}: ${state}${holds.length > 0 ? `, holds ${holds.join(', ')}` : ''}`,
  );
  return [`  ${result.threads.length - odd.length} of ${result.threads.length} came to their end`, ...lines];
}

function failureLines({ result }: RunOutcome): string[] {
  const stall =
    result.stall === null
      ? []
      : [
          `  no progress for ${duration(result.stall.afterMs * 1e6)}: ${result.stall.summary}`,
          ...stallDetails(result.stall).map((line) => `    ${line}`),
        ];
  const failures = result.failures.flatMap(({ thread, rule, message, held, lastEvents }) => [
    `  ${thread}: ${rule}: ${message}`,
    ...(held.length > 0 ? [`    held ${held.join(', ')}`] : []),
    ...lastEvents.map((event) => `    ${event}`),
  ]);
  return [...stall, ...failures];
}

function violationLines({ examinations }: RunOutcome): string[] {
  const all = violationsOf(examinations);
  const lines = all
    .slice(0, VIOLATIONS_SHOWN)
    .flatMap(({ oracle, rule, message, history = [] }) => [
      `  ${oracle}: ${rule}: ${message}`,
      ...history.map((event) => `    ${event}`),
    ]);
  return all.length > VIOLATIONS_SHOWN ? [...lines, `  and ${all.length - VIOLATIONS_SHOWN} more`] : lines;
}
