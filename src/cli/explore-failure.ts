/** A failure of the explorer, printed and kept: the same for `explore`, `bugs` and `replay`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseToken } from '../engines/explore/token.ts';
import type { BugSwitches } from '../mmu/bug-switches.ts';
import { failureLines } from '../report/explore-columns.ts';
import { traceSchedule } from '../report/explore-trace.ts';
import { PLAIN, type Style } from '../report/style.ts';
import type { Scenario } from '../scenarios/scenario.ts';
import { VmProgram } from '../scenarios/vm-program.ts';

export interface FailureOptions {
  readonly everyStep: boolean;
  /** Stop before so many steps. */
  readonly until: number;
}

export const FAILURE_DEFAULTS: FailureOptions = { everyStep: false, until: Number.POSITIVE_INFINITY };

/** What replays a token: the scenario, the bugs that were put back, and the schedule. */
export function replayName(scenario: string, bugs: BugSwitches, token: string): string {
  const on = Object.keys(bugs).filter((id) => bugs[id] === true);
  return `${[scenario, ...on].join('+')}@${token}`;
}

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

/** Keeps a finding in `folder`, once: as JSON, token and text. */
export function keepFinding(
  folder: string,
  scenario: Scenario,
  bugs: BugSwitches,
  finding: { rule: string; token: string },
): void {
  mkdirSync(folder, { recursive: true });
  const base = path.join(folder, `${scenario.name}-${finding.rule}`);
  const token = replayName(scenario.name, bugs, finding.token);
  writeFileSync(`${base}.json`, `${JSON.stringify({ scenario: scenario.name, bugs, ...finding, replay: token }, null, 1)}\n`);
  writeFileSync(`${base}.token`, `${token}\n`);
  writeFileSync(`${base}.txt`, `${describeFailure(scenario, bugs, finding.token, PLAIN).join('\n')}\n`);
}
