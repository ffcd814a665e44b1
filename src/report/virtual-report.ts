/**
 * The part of a report that only the virtual clock can give: where the vCPUs' time went, locks over time, stalls.
 */
import { TIME_GROUP_NAMES, type TimeGroup } from '../engines/virtual/time-shares.ts';
import type { Stretch, VirtualDetail } from '../engines/virtual/virtual-result.ts';
import { sparkline } from './chart.ts';
import { count, duration, percent } from './quantity.ts';
import { heading, paint, type Style } from './style.ts';
import { table } from './table.ts';

const GROUP_TEXTS: Readonly<Record<TimeGroup, string>> = {
  guest: 'guest',
  walk: 'hardware page walk',
  exit: 'exits and entries',
  faultHandling: 'fault handling',
  hostFault: 'host fault (get_user_pages, userfaultfd)',
  ipi: 'IPIs and TLB flushes',
  cacheLine: 'waiting for a cache line',
  user: 'user space and system calls',
  scheduler: 'scheduler',
  mmuLock: 'waiting for mmu_lock',
  idle: 'nothing to do',
  otherWaits: 'other waits',
};

/** Columns of a line over time. */
const SPARK_WIDTH = 64;
/** Locks that were busy for less than this share of the time at their busiest are left out. */
const BUSY_MIN = 0.01;

/** When the kernel's detectors speak up, with their default settings. */
const ALARMS = [
  { what: 'soft lockup', afterNs: 20e9, name: 'twice watchdog_thresh' },
  { what: 'RCU stall', afterNs: 21e9, name: 'rcu_cpu_stall_timeout' },
] as const;

export function virtualReport(detail: VirtualDetail, style: Style): string[] {
  const { vcpus } = detail;
  const shares = TIME_GROUP_NAMES.filter((group) => vcpus.groups[group] > 0)
    .sort((a, b) => vcpus.groups[b] - vcpus.groups[a])
    .map((group) => [
      `  ${GROUP_TEXTS[group]}`,
      percent(vcpus.groups[group], vcpus.totalNs),
      duration(vcpus.groups[group] / Math.max(1, vcpus.tasks)),
    ]);
  return [
    '',
    heading(style, `Time of the vCPUs (${detail.profile}, ${detail.cpus} CPUs)`),
    ...table([{ title: '', align: 'left' }, { title: 'share' }, { title: 'a vCPU' }], shares),
    ...lockLines(detail, style),
    '',
    heading(style, 'Longest stretches'),
    // Whatever gives the CPU away, leaves the kernel or enters the guest is a quiescent state as well.
    `  without a scheduling point or an RCU quiescent state: ${stretchText(detail.stall)}`,
    ...alarms(detail.stall).map((text) => `    ${paint(style, 'red', text)}`),
    ...(detail.vcpuStall === null || detail.vcpuStall.thread === detail.stall.thread
      ? []
      : [`  of a vCPU outside the guest: ${stretchText(detail.vcpuStall)}`]),
    `  from the scheduler's wish to its being heard: ${duration(detail.reschedLate.ns)} (${detail.reschedLate.thread})`,
    ...(detail.rcu === null ? [] : [`  in an RCU read-side section: ${stretchText(detail.rcu)}`]),
    ...(detail.hotLines.length === 0
      ? []
      : ['', heading(style, 'Cache lines that moved most'), ...detail.hotLines.slice(0, 5).map(hotLine)]),
    '',
    `${count(detail.steps)} steps simulated`,
  ];
}

/** What the kernel would have said about a stretch without a scheduling point (kernel/watchdog.c, kernel/rcu/tree_stall.h). */
export function alarms({ thread, ns }: Stretch): string[] {
  return ALARMS.filter(({ afterNs }) => ns > afterNs).map(
    ({ what, afterNs, name }) => `${what} of ${thread}: the kernel complains after ${duration(afterNs)} (${name})`,
  );
}

const stretchText = ({ thread, ns, endNs, operation }: Stretch): string =>
  `${duration(ns)} (${thread}${operation === 'none' ? '' : `, ${operation}`}, until ${duration(endNs)})`;

const hotLine = ({ label, address, stallNs }: VirtualDetail['hotLines'][number]): string =>
  `  ${duration(stallNs)} of all tasks together: ${label}, word ${address}`;

function lockLines({ locks, bucketNs }: VirtualDetail, style: Style): string[] {
  const rows = locks.flatMap(({ lock, readers, writer, waiters }) => {
    const series: [string, readonly number[]][] = [
      ['held for write', writer],
      ['readers inside', readers],
      ['waiting', waiters],
    ];
    return series
      .map(([what, values]) => ({ what, values, most: values.reduce((a, b) => Math.max(a, b), 0) }))
      .filter(({ most }) => most >= BUSY_MIN)
      .map(({ what, values, most }) => {
        const mean = values.reduce((a, b) => a + b, 0) / values.length;
        return [`  ${lock} ${what}`, mean.toFixed(2), most.toFixed(2), sparkline(values, SPARK_WIDTH)];
      });
  });
  if (rows.length === 0) return [];
  const columns = [
    { title: '', align: 'left' as const },
    { title: 'mean' },
    { title: 'most' },
    { title: '', align: 'left' as const },
  ];
  return ['', heading(style, `Locks over time (steps of ${duration(bucketNs)})`), ...table(columns, rows)];
}
