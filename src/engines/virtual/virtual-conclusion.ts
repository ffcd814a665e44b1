/**
 * From a run that is over to its result: how it ended, what was measured, where the time went.
 */
import type { Address } from '../../machine/point.ts';
import { VmStat, vmStat } from '../../mmu/vm-stat.ts';
import { waitsFor } from '../measure/lock-measurements.ts';
import type { Measurement } from '../measure/measurement.ts';
import { OPERATIONS } from '../measure/operations.ts';
import { readMeasurement } from '../measure/read-measurement.ts';
import { EVERYTHING } from '../measure/recorder.ts';
import { describeFailure, heldLocks } from '../threads/failure.ts';
import type { ThreadFailure } from '../threads/protocol.ts';
import { ExitCode, type ThreadOutcome } from '../threads/result.ts';
import type { StallReport } from '../threads/stall.ts';
import type { RunEnd } from './engine.ts';
import type { TaskReport } from './run-report.ts';
import { timeShares } from './time-shares.ts';
import type { Stretch, VirtualDetail, VirtualResult } from './virtual-result.ts';
import type { FinishedRun } from './virtual-run.ts';

export type VirtualEnding = RunEnd;

const HOT_LINES = 8;
/** Blocked tasks that a report names. */
const NAMED = 4;

export function concludeVirtualRun(run: FinishedRun, end: VirtualEnding): VirtualResult {
  const { plan, engine, layout, vm } = run;
  const reports = engine.reports();
  const failures = end.status === 'failed' ? [failure(run, end.task, end.error)] : [];
  const stall = end.status === 'deadlock' || end.status === 'deadline' ? stallReport(run, reports, end) : null;
  return {
    complete: end.status === 'done',
    reason: reasonFor(end, failures, stall),
    exitCode: exitCodeFor(end),
    failures,
    stall,
    threads: plan.threads.map((thread, id): ThreadOutcome => {
      const report = reports[id];
      const lost = end.status === 'failed' && end.task === thread.name ? 'failed' : 'terminated';
      return {
        name: thread.name,
        role: thread.role,
        index: thread.index,
        state: report.done ? 'done' : lost,
        elapsedNs: report.done ? report.endNs - report.startNs : null,
        holds: heldLocks(run.heldMaskOf(id)),
      };
    }),
    startupNs: 0,
    elapsedNs: reports.reduce((latest, { endNs }) => Math.max(latest, endNs), 0),
    measurement: measure(run),
    vm,
    memory: engine.memory,
    control: layout.control,
    virtual: detail(run, reports),
  };
}

function exitCodeFor(end: RunEnd): ExitCode {
  if (end.status === 'failed') return ExitCode.broken;
  if (end.status === 'deadlock' || end.status === 'deadline') return ExitCode.stalled;
  return end.status === 'done' ? ExitCode.held : ExitCode.interrupted;
}

function reasonFor(end: RunEnd, failures: readonly ThreadFailure[], stall: StallReport | null): string {
  if (end.status === 'failed') return `${failures[0].thread}: ${failures[0].rule}: ${failures[0].message}`;
  if (end.status === 'deadlock') return `deadlock: ${stall!.summary}`;
  if (end.status === 'deadline') return `no end within the time of grace: ${stall!.summary}`;
  return end.status === 'done' ? '' : 'interrupted';
}

function failure(run: FinishedRun, task: string, error: unknown): ThreadFailure {
  const threadId = Math.max(
    0,
    run.plan.threads.findIndex(({ name }) => name === task),
  );
  return describeFailure(error, { thread: task, threadId, region: run.region, heldMask: run.heldMaskOf(threadId) });
}

function stallReport(run: FinishedRun, reports: readonly TaskReport[], end: RunEnd): StallReport {
  const blocked = end.status === 'deadlock' ? end.blocked : [];
  const threads = run.plan.threads.map(({ name }, id) => ({
    thread: name,
    state: reports[id].done ? ('done' as const) : ('running' as const),
    holds: heldLocks(run.heldMaskOf(id)),
    waitsFor: waitsFor(run.region, id) ?? null,
    inRcu: false,
    operation: OPERATIONS[run.operationOf(id)],
  }));
  const more = blocked.length > NAMED ? [`and ${blocked.length - NAMED} more`] : [];
  const texts = [...blocked.slice(0, NAMED).map(({ text }) => text), ...more];
  const running = threads.filter(({ state }) => state === 'running').map(({ thread }) => thread);
  const summary = texts.length > 0 ? texts.join('; ') : `still running: ${running.slice(0, NAMED).join(', ')}`;
  return { afterMs: 0, threads, summary };
}

function measure(run: FinishedRun): Measurement {
  const { kvm } = run.vm;
  const stat = (name: keyof typeof VmStat): number => vmStat(kvm, VmStat[name]);
  return readMeasurement(run.region, {
    sampling: EVERYTHING,
    threads: [...run.plan.threads, { name: 'coordinator', role: 'coordinator', index: 0 }],
    vmStats: {
      pages_4k: stat('pages4k'),
      pages_2m: stat('pages2m'),
      pages_1g: stat('pages1g'),
      tdp_mmu_pages: stat('tdpMmuPages'),
      nx_lpage_splits: stat('nxLpageSplits'),
    },
    phases: run.phases,
    tallies: run.tallies,
  });
}

function detail(run: FinishedRun, reports: readonly TaskReport[]): VirtualDetail {
  const { plan, engine, options, timeline } = run;
  const ofRole = (role: string): TaskReport[] => reports.filter((_, id) => plan.threads[id].role === role);
  const others = [...new Set(plan.threads.map(({ role }) => role))].filter((role) => role !== 'vcpu');
  const longest = (value: (report: TaskReport) => number): number =>
    reports.reduce((best, report, id) => (value(report) > value(reports[best]) ? id : best), 0);
  const stalled = longest(({ stretchMaxNs }) => stretchMaxNs);
  const stretchOf = (id: number): Stretch => ({
    thread: plan.threads[id].name,
    ns: reports[id].stretchMaxNs,
    endNs: reports[id].stretchEndNs,
    operation: OPERATIONS[run.records[id].stallOperation],
  });
  const isVcpu = (id: number): boolean => plan.threads[id].role === 'vcpu';
  const vcpuIds = reports.map((_, id) => id).filter(isVcpu);
  const stalledVcpu = vcpuIds.sort((a, b) => reports[b].stretchMaxNs - reports[a].stretchMaxNs || a - b).at(0);
  const late = longest(({ reschedLateMaxNs }) => reschedLateMaxNs);
  const endNs = reports.reduce((latest, report) => Math.max(latest, report.endNs), 0);
  return {
    profile: options.profile.name,
    cpus: engine.topology.cpus,
    steps: engine.steps,
    vcpus: timeShares(ofRole('vcpu')),
    others: Object.fromEntries(others.map((role) => [role, timeShares(ofRole(role))])),
    bucketNs: timeline.bucketNs,
    locks: timeline.read(endNs),
    stall: stretchOf(stalled),
    vcpuStall: stalledVcpu === undefined ? null : stretchOf(stalledVcpu),
    reschedLate: { thread: plan.threads[late].name, ns: reports[late].reschedLateMaxNs },
    rcu: longestRcu(run),
    hotLines: engine.hottestLines(HOT_LINES).map(({ label, address, stallNs }) => ({
      label: run.layout.vm.arena.find(address as Address)?.name ?? label,
      address,
      stallNs,
    })),
    lostWakes: engine.lostWakes,
  };
}

function longestRcu(run: FinishedRun): Stretch | null {
  let best: Stretch | null = null;
  for (const { thread, probe } of run.records) {
    if (probe === null || (best !== null && probe.rcuLongest.ns <= best.ns)) continue;
    const { ns, endNs, operation } = probe.rcuLongest;
    best = { thread: thread.name, ns, endNs, operation: OPERATIONS[operation] };
  }
  return best;
}
