/**
 * The workload `aging`: access_tracking_perf_test, followed by aging under load.
 */
import {
  checkShares,
  hostsOption,
  randomAccessOption,
  rangeOption,
  rangePages,
  shareOption,
  writePercentOption,
} from './memstress-plan.ts';
import { memstressWorkload } from './memstress-workload.ts';
import { numberOf } from './option.ts';
import { AGING_ROUNDS, AGINGS, LOAD_ROUND } from './programs/aging.ts';
import { seconds, sumOf } from './selftest-time.ts';
import type { WorkloadResult } from './workload.ts';

export const aging = memstressWorkload({
  name: 'aging',
  summary: 'the host makes pages old and looks which are used, at rest and under load',
  selftest: 'access_tracking_perf_test',
  bytesPerVcpu: 64 * 2 ** 20,
  iterations: { default: 100, help: 'number of calls of each host thread under load' },
  options: [
    hostsOption,
    rangeOption,
    { ...writePercentOption, default: 50 },
    randomAccessOption,
    shareOption('clear_young', 'share of clear_young among the calls under load'),
    shareOption('clear_flush_young', 'share of clear_flush_young'),
    shareOption('test_young', 'share of test_young'),
  ],
  programs: { vcpu: 'aging-vcpu', ioctl: 'aging-ioctl', host: 'aging-host' },
  hosts: (options) => numberOf(options, 'hosts'),
  derived: rangePages,
  check: (options) => checkShares(options, AGINGS),
  lines: agingLines,
});

const NAME_WIDTH = 30;

function agingLines({ phases, tallies, counter }: WorkloadResult): string[] {
  const lines: string[] = [];
  const seen = new Map<string, number>();
  const sum = (name: string): number => sumOf(tallies[name] ?? []);
  for (const [i, { name }] of AGING_ROUNDS.slice(0, LOAD_ROUND - 1).entries()) {
    const nth = seen.get(name) ?? 0;
    seen.set(name, nth + 1);
    const ns = phases[name]?.[nth];
    if (ns === undefined) break;
    lines.push(`${name.padEnd(NAME_WIDTH)}: ${seconds(ns)}s`);
    const idle = sum(`still idle in round ${i + 1}`);
    // The selftest warns of more than a tenth.
    if (idle > 0) lines.push(`  still idle: ${idle} of ${sum(`marked in round ${i + 1}`)} pages`);
  }
  for (const how of AGINGS) {
    const times = phases[how] ?? [];
    if (times.length === 0) continue;
    const [asked, young] = [sum(`${how} asked`), sum(`${how} young`)];
    const average = seconds(sumOf(times) / times.length);
    lines.push(`${how} of ${times.length} ranges under load: ${young} pages young, ${asked - young} old. (Avg ${average}s)`);
  }
  if (phases.load === undefined) return lines;
  lines.push(`TLB flushes because a page was young: ${counter('age_flushes')}, left out ${counter('age_flushes_elided')}`);
  lines.push(`Fast page faults: ${counter('cmpxchg_fast') - counter('cmpxchg_fast_failed')}`);
  if (tallies['still idle at the end'])
    lines.push(`Still idle after all memory was read once more: ${sum('still idle at the end')} pages`);
  return lines;
}
