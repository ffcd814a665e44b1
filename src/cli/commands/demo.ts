/**
 * `tdpsim demo`, which `npm start` runs: what eager page splitting is for, and a fight for mmu_lock, on real threads.
 */

import { foremostLocks, lockContention } from '../../report/lock-contention.ts';
import { type RunOutcome, workloadLines } from '../../report/outcome.ts';
import { runReport, verdictText } from '../../report/run-report.ts';
import { DIRTY_LOG_ROWS, sideBySide } from '../../report/side-by-side.ts';
import { heading } from '../../report/style.ts';
import { type Verdict, verdictOf } from '../../report/verdict.ts';
import { dirtyLog } from '../../workloads/dirty-log.ts';
import { notifierStorm } from '../../workloads/notifier-storm.ts';
import { parseOptions } from '../../workloads/option.ts';
import { runSettings } from '../../workloads/run-settings.ts';
import type { CliCommand, Surroundings } from '../command.ts';
import { runWorkload } from '../run-workload.ts';

/** As on the command line. */
const OPTIONS = { vcpus: '4', bytesPerVcpu: '1G', backing: 'anonymous_hugetlb_1gb', iterations: '2' };
const COMMAND = 'tdpsim stress dirty-log -v 4 -b 1G -s anonymous_hugetlb_1gb -i 2 --set eager_page_split=';
/** Writers that hold mmu_lock for long, because the host takes memory away while vCPUs refault it: for some seconds. */
const STORM_OPTIONS = { vcpus: '4', bytesPerVcpu: '16M', iterations: '20' };
const STORM_COMMAND = 'tdpsim stress notifier-storm -v 4 -b 16M -i 20';
/** Locks that are shown of each run; mmu_lock always is. */
const LOCKS_SHOWN = 6;

export const demo: CliCommand = {
  register(program, surroundings) {
    program
      .command('demo')
      .description(
        'dirty logging of a guest on 1G pages by real threads, eager page splitting off and on; then a fight for mmu_lock',
      )
      .action(() => runDemo(surroundings));
  },
};

async function runDemo(surroundings: Surroundings): Promise<void> {
  const { print, style } = surroundings;
  print('Four vCPU threads dirty 4 GiB of guest memory on 1G pages, while an ioctl thread gets and clears the dirty log.');
  print('Clearing write-protects pages, so huge pages have to be split: by the vCPUs, when they fault, or eagerly beforehand.');
  const off = await dirtyLogRun('N', surroundings);
  if (verdictOf(off).kind !== 'PASS') return conclude([off], verdictOf(off), surroundings);
  const on = await dirtyLogRun('Y', surroundings);
  if (verdictOf(on).kind !== 'PASS') return conclude([on], verdictOf(on), surroundings);
  for (const [outcome, value] of [
    [off, 'N'],
    [on, 'Y'],
  ] as const) {
    printRun(outcome, `${COMMAND}${value}`, surroundings);
  }
  print('');
  print(heading(style, 'Side by side'));
  for (const line of sideBySide(['eager_page_split=N', 'eager_page_split=Y'], [off, on], DIRTY_LOG_ROWS)) print(line);
  print('');
  print('A fight for mmu_lock: a host thread drops, protects and ages memory under it while four vCPUs fault on it.');
  const storm = await stormRun(surroundings);
  if (verdictOf(storm).kind !== 'PASS') return conclude([storm], verdictOf(storm), surroundings);
  printRun(storm, STORM_COMMAND, surroundings);
  conclude([], { ...verdictOf(on), text: `all three runs: ${verdictOf(on).text}` }, surroundings);
}

/** What the selftest would print, and the locks. */
function printRun(outcome: RunOutcome, command: string, { print, style }: Surroundings): void {
  print('');
  print(heading(style, `$ ${command}`));
  for (const line of workloadLines(outcome)) if (line !== '') print(line);
  print('');
  const shown = foremostLocks(outcome.measurement.locks, LOCKS_SHOWN);
  for (const line of lockContention(shown, outcome.plan.vm.lock ?? 'rwlock')) print(line);
}

function conclude(failed: readonly RunOutcome[], verdict: Verdict, surroundings: Surroundings): void {
  const { print, style, setExitCode } = surroundings;
  for (const outcome of failed) for (const line of runReport(outcome, { style, lockstat: false })) print(line);
  print('');
  print(verdictText(verdict, style));
  setExitCode(verdict.exitCode);
}

async function dirtyLogRun(eagerPageSplit: 'Y' | 'N', surroundings: Surroundings): Promise<RunOutcome> {
  const common = runSettings({}, [`eager_page_split=${eagerPageSplit}`]);
  const prepared = await dirtyLog.plan(parseOptions(dirtyLog.options, OPTIONS), common);
  return runWorkload({ workload: dirtyLog, prepared, common, surroundings, title: `eager_page_split=${eagerPageSplit}` });
}

async function stormRun(surroundings: Surroundings): Promise<RunOutcome> {
  const common = runSettings({}, []);
  const prepared = await notifierStorm.plan(parseOptions(notifierStorm.options, STORM_OPTIONS), common);
  return runWorkload({ workload: notifierStorm, prepared, common, surroundings });
}
