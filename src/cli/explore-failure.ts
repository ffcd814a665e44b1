/** A failure of the explorer, printed and kept: the same for `explore`, `bugs` and `replay`. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { switchesOf } from '../engines/explore/shrink.ts';
import { parseToken } from '../engines/explore/token.ts';
import type { BugSwitches } from '../mmu/bug-switches.ts';
import { failureLines } from '../report/explore-columns.ts';
import { traceSchedule } from '../report/explore-trace.ts';
import { failurePage } from '../report/failure-page.ts';
import { PLAIN, type Style } from '../report/style.ts';
import type { Scenario } from '../scenarios/scenario.ts';
import { VmProgram } from '../scenarios/vm-program.ts';
import { UsageError } from '../workloads/usage-error.ts';

export interface FailureOptions {
  readonly everyStep: boolean;
  /** Stop before so many steps. */
  readonly until: number;
}

const FAILURE_DEFAULTS: FailureOptions = { everyStep: false, until: Number.POSITIVE_INFINITY };

/** What replays a token: the scenario, the bugs that were put back, and the schedule. */
export function replayName(scenario: string, bugs: BugSwitches, token: string): string {
  return `${[scenario, ...switchedOn(bugs)].join('+')}@${token}`;
}

/** Fails before a search instead of after it. Errors: UsageError where `file` cannot be in a folder that exists. */
export function checkPageFile(file: string | undefined): void {
  if (file === undefined) return;
  const folder = path.dirname(path.resolve(file));
  if (!(statSync(folder, { throwIfNoEntry: false })?.isDirectory() ?? false))
    throw new UsageError(`--html: there is no folder ${folder}`);
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory())
    throw new UsageError(`--html: ${file} is a folder, not a file to write`);
}

/** Writes the page that steps through the schedule of `token`. Errors: UsageError where `file` cannot be written. */
export function writeFailurePage(
  file: string,
  scenario: Scenario,
  bugs: BugSwitches,
  token: string,
  until = Number.POSITIVE_INFINITY,
): void {
  const options = { everyStep: false, until, pictures: true };
  const trace = traceSchedule(new VmProgram(scenario, { bugs }), parseToken(token), options);
  const command = `tdpsim replay '${replayName(scenario.name, bugs, token)}'`;
  const title = { scenario: scenario.name, pits: scenario.pits, bugs: switchedOn(bugs), command };
  const page = failurePage(trace, title);
  try {
    writeFileSync(file, page);
  } catch (error) {
    throw new UsageError(`--html: ${file} cannot be written: ${(error as NodeJS.ErrnoException).code}`);
  }
}

const switchedOn = (bugs: BugSwitches): string[] => Object.keys(bugs).filter((id) => bugs[id] === true);

/** The lines of a failure that `token` replays. */
export function describeFailure(
  scenario: Scenario,
  bugs: BugSwitches,
  token: string,
  style: Style,
  options: FailureOptions = FAILURE_DEFAULTS,
): string[] {
  const trace = traceSchedule(new VmProgram(scenario, { bugs }), parseToken(token), options);
  return failureLines(trace, style);
}

/**
 * Keeps a finding in `folder`, as JSON, token and text. A finding is a rule that broke in a scenario with certain bugs: of several
 * schedules that come to it, the one with the fewest context switches and then steps stays. Errors: UsageError where the folder
 * cannot be written to.
 */
export function keepFinding(
  folder: string,
  scenario: Scenario,
  bugs: BugSwitches,
  finding: { rule: string; token: string },
): void {
  const base = path.join(folder, `${[scenario.name, ...switchedOn(bugs)].join('+')}-${finding.rule}`);
  const token = replayName(scenario.name, bugs, finding.token);
  try {
    mkdirSync(folder, { recursive: true });
    if (existsSync(`${base}.token`) && !isShorter(token, readFileSync(`${base}.token`, 'utf8'))) return;
    const json = JSON.stringify({ scenario: scenario.name, bugs, ...finding, replay: token }, null, 1);
    writeFileSync(`${base}.json`, `${json}\n`);
    writeFileSync(`${base}.token`, `${token}\n`);
    writeFileSync(`${base}.txt`, `${describeFailure(scenario, bugs, finding.token, PLAIN).join('\n')}\n`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UsageError(`--out ${folder}: cannot be written: ${code}`);
  }
}

/** Whether `token` replays in fewer switches or steps than `kept`, or that one cannot be replayed any more. */
function isShorter(token: string, kept: string): boolean {
  const parsed = [token, kept].map((text) => {
    try {
      return parseToken(text.slice(text.indexOf('@') + 1));
    } catch {
      return null;
    }
  });
  const [found, before] = parsed;
  if (found === null || before === null || found.hash !== before.hash) return true;
  const difference = switchesOf(found.schedule) - switchesOf(before.schedule);
  return difference < 0 || (difference === 0 && found.schedule.length < before.schedule.length);
}
