/**
 * `tdpsim demo`, which `npm start` runs: what eager page splitting is for, measured on real threads.
 */

import { lockContention } from '../../report/lock-contention.ts';
import { type RunOutcome, workloadLines } from '../../report/outcome.ts';
import { runReport, verdictText } from '../../report/run-report.ts';
import { DIRTY_LOG_ROWS, sideBySide } from '../../report/side-by-side.ts';
import { heading } from '../../report/style.ts';
import { type Verdict, verdictOf } from '../../report/verdict.ts';
import { dirtyLog } from '../../workloads/dirty-log.ts';
import { parseOptions } from '../../workloads/option.ts';
import { runSettings } from '../../workloads/run-settings.ts';
import type { CliCommand, Surroundings } from '../command.ts';
import { runWorkload } from '../run-workload.ts';

/** As on the command line. */
const OPTIONS = { vcpus: '4', bytesPerVcpu: '1G', backing: 'anonymous_hugetlb_1gb', iterations: '2' };
const COMMAND = 'tdpsim stress dirty-log -v 4 -b 1G -s anonymous_hugetlb_1gb -i 2 --set eager_page_split=';
/** Locks that are shown of each run. */
const LOCKS_SHOWN = 6;

export const demo: CliCommand = {
  register(program, surroundings) {
    program
      .command('demo')
      .description('dirty logging of a guest on 1G pages by real threads, eager page splitting off and on, side by side')
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
    print('');
    print(heading(style, `$ ${COMMAND}${value}`));
    for (const line of workloadLines(outcome)) if (line !== '') print(line);
    const { locks } = outcome.measurement;
    const shown = [...locks]
      .sort((a, b) => b.wait.totalNs - a.wait.totalNs || b.acquisitions - a.acquisitions)
      .slice(0, LOCKS_SHOWN);
    print('');
    for (const line of lockContention(shown, outcome.plan.vm.lock ?? 'rwlock')) print(line);
  }
  print('');
  print(heading(style, 'Side by side'));
  for (const line of sideBySide(['eager_page_split=N', 'eager_page_split=Y'], [off, on], DIRTY_LOG_ROWS)) print(line);
  conclude([], { ...verdictOf(on), text: `both runs: ${verdictOf(on).text}` }, surroundings);
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
