/**
 * Hunting a bug: the same scenarios for all of them, a few executions of each, then more of each, until one breaks a rule.
 */

import { Execution } from '../engines/explore/execution.ts';
import { type ExploreFinding, explore } from '../engines/explore/explore.ts';
import { EXPLORE_DEFAULTS, type Policy } from '../engines/explore/options.ts';
import { programHash } from '../engines/explore/program.ts';
import { SamplingRunner } from '../engines/explore/runner.ts';
import { switchesOf as contextSwitches, shrink } from '../engines/explore/shrink.ts';
import { formatToken } from '../engines/explore/token.ts';
import type { BugSwitches } from '../mmu/bug-switches.ts';
import type { Scenario } from '../scenarios/scenario.ts';
import { VmProgram } from '../scenarios/vm-program.ts';

export interface HuntOptions {
  readonly policy: Policy;
  /** After so many seconds the hunt is given up. */
  readonly seconds: number;
  /** Sampling: likewise after a round that brought the executions up to so many. */
  readonly executions: number;
  readonly seed: number;
  /** Steps after which an execution is given up. */
  readonly depth: number;
}

export const HUNT_DEFAULTS: HuntOptions = { policy: 'pct', seconds: 20, executions: Infinity, seed: 1, depth: 5000 };

/** What a hunt caught. */
export interface Catch {
  readonly scenario: string;
  readonly rule: string;
  readonly message: string;
  readonly token: string;
  /** Steps and context switches of the shortest schedule that is known. */
  readonly steps: number;
  readonly switches: number;
}

export interface HuntResult {
  readonly policy: Policy;
  readonly caught: Catch | null;
  /** Executions of all scenarios together. */
  readonly executions: number;
  readonly seconds: number;
}

/** Executions of each scenario in the first round; each round has so many times more than the one before. */
const FIRST_ROUND = 8;
const GROWTH = 4;

/** Steps that are spent on cutting a schedule down: enough to read it by. */
const SHRINKING_STEPS = 400_000;

const now_s = (): number => performance.now() / 1000;

/** Looks for a broken rule in `scenarios` with the bug put back. */
export async function hunt(
  scenarios: readonly Scenario[],
  bugs: BugSwitches,
  asked: Partial<HuntOptions> = {},
): Promise<HuntResult> {
  const options = { ...HUNT_DEFAULTS, ...asked };
  return options.policy === 'exhaustive' ? huntExhaustively(scenarios, bugs, options) : huntBySampling(scenarios, bugs, options);
}

async function huntBySampling(scenarios: readonly Scenario[], bugs: BugSwitches, options: HuntOptions): Promise<HuntResult> {
  const { policy, seconds, seed, depth } = options;
  const begin_s = now_s();
  const search = { ...EXPLORE_DEFAULTS, policy, seed, depth, states: false, repeatEvery: 0 };
  const runners: (SamplingRunner | undefined)[] = [];
  let executions = 0;
  for (let count = FIRST_ROUND, first = 0; ; first += count, count *= GROWTH) {
    if (executions >= options.executions) return { policy, caught: null, executions, seconds: now_s() - begin_s };
    for (const [i, scenario] of scenarios.entries()) {
      if (now_s() - begin_s > seconds) return { policy, caught: null, executions, seconds: now_s() - begin_s };
      const runner = (runners[i] ??= new SamplingRunner(new VmProgram(scenario, { bugs }), search));
      runner.load(first, count);
      while (runner.tally.failures.size === 0 && runner.run()) executions++;
      const [failure] = runner.tally.failures.values();
      if (failure === undefined) continue;
      const found_s = now_s() - begin_s;
      const less = shrink(runner.execution, failure.schedule, failure.finding.rule, failure.seed, {
        replays: Math.ceil(SHRINKING_STEPS / failure.schedule.length),
        executions: Math.ceil(SHRINKING_STEPS / failure.schedule.length),
        depth,
      });
      const finding = less?.finding ?? failure.finding;
      const schedule = less?.schedule ?? failure.schedule;
      const { execution } = runner;
      const hash = programHash(execution.program, execution.memory.initial, 'sc');
      const token = formatToken({ hash, model: 'sc', seed: failure.seed, schedule });
      return { policy, caught: catchOf(scenario, { ...finding, token, schedule }), executions, seconds: found_s };
    }
  }
}

/** With few preemptions first: most bugs need one or two. */
async function huntExhaustively(scenarios: readonly Scenario[], bugs: BugSwitches, options: HuntOptions): Promise<HuntResult> {
  const { policy, seconds, depth } = options;
  const begin_s = now_s();
  let executions = 0;
  for (let preemptions = 0, share_s = 0.1; ; preemptions++, share_s *= 2) {
    for (const scenario of scenarios) {
      const left_s = seconds - (now_s() - begin_s);
      if (left_s <= 0) return { policy, caught: null, executions, seconds: now_s() - begin_s };
      const limit = { policy, depth, preemptions, seconds: Math.min(share_s, left_s), states: false, repeatEvery: 0 };
      const report = await explore(new VmProgram(scenario, { bugs }), limit);
      executions += report.executions;
      const [finding] = report.findings;
      if (finding !== undefined) {
        return { policy, caught: catchOf(scenario, finding), executions, seconds: now_s() - begin_s };
      }
    }
  }
}

function catchOf(scenario: Scenario, found: Pick<ExploreFinding, 'rule' | 'message' | 'token' | 'schedule'>): Catch {
  const { rule, message, token, schedule } = found;
  return { scenario: scenario.name, rule, message, token, steps: schedule.length, switches: contextSwitches(schedule) };
}

/** A fresh execution of a scenario, to replay in. */
export function executionOf(scenario: Scenario, bugs: BugSwitches): Execution {
  return new Execution(new VmProgram(scenario, { bugs }));
}
