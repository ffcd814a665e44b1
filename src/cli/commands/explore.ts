/**
 * `tdpsim explore NAME|FILE|--all`: runs a scenario, or a program of one's own, under a scheduler that decides every step.
 */
import { Option } from 'commander';
import { BUGS } from '../../bugs/index.ts';
import { type ExploreReport, explore as exploreProgram } from '../../engines/explore/explore.ts';
import { ExploreOptionError, type ExploreOptions, POLICIES, type Policy, type Progress } from '../../engines/explore/options.ts';
import type { MemoryModel } from '../../engines/explore/program.ts';
import type { BugSwitches } from '../../mmu/bug-switches.ts';
import { exploreTableHead, exploreTableLine } from '../../report/explore-table.ts';
import { heading } from '../../report/style.ts';
import { loadAllScenarios, loadScenario } from '../../scenarios/library.ts';
import { isModuleFile, moduleSource, scenarioSource } from '../../scenarios/program-source.ts';
import type { Scenario } from '../../scenarios/scenario.ts';
import { VmProgram } from '../../scenarios/vm-program.ts';
import { ScriptError } from '../../script/script-error.ts';
import { UsageError, unknownName } from '../../workloads/usage-error.ts';
import type { CliCommand, Surroundings } from '../command.ts';
import { checkPageFile, describeFailure, keepFinding, replayName, writeFailurePage } from '../explore-failure.ts';

const EXIT_BROKEN = 127;
const EXIT_INTERRUPTED = 130;

/** What one scenario of `--all` gets: the search for every trace, and where that does not end in time, these policies. */
const ALL_POLICIES: readonly Policy[] = ['exhaustive', 'random', 'pct', 'partial-order'];
const ALL_SECONDS: Readonly<Record<Policy, number>> = {
  exhaustive: 1.2,
  random: 0.6,
  pct: 0.6,
  'partial-order': 0.6,
  'round-robin': 0.6,
};

interface Flags {
  readonly all?: true;
  readonly policy?: Policy;
  readonly time?: string;
  readonly executions?: string;
  readonly preemptions?: string;
  readonly depth?: string;
  readonly jobs?: string;
  readonly seed?: string;
  readonly memory: MemoryModel;
  readonly bug: readonly string[];
  readonly checkpoint?: string;
  readonly resume?: string;
  readonly out?: string;
  readonly html?: string;
  readonly json?: true;
}

export const explore: CliCommand = {
  register(program, surroundings) {
    program
      .command('explore')
      .argument(
        '[name]',
        'a scenario (see `tdpsim scenarios`), a script (.kt), or a module whose default export is a program (.ts, .js)',
      )
      .description('run every interleaving, or a sample of them, and check every step')
      .option('--all', 'all scenarios, each for a short time')
      .addOption(new Option('--policy <name>', 'who decides (default: exhaustive, of one; several, of --all)').choices(POLICIES))
      .option('--time <seconds>', 'stop after so long (of --all: for each scenario and policy)')
      .option('--executions <n>', 'stop after so many executions')
      .option('--preemptions <n>', 'exhaustive: switch away from a thread that could go on at most so often')
      .option('--depth <n>', 'give an execution up after so many steps')
      .option('--jobs <n>', 'worker threads')
      .option('--seed <n>', 'of the random policies')
      .addOption(new Option('--memory <model>', 'what threads see').choices(['sc', 'tso']).default('sc'))
      .option('--bug <id>', 'put a historical bug back (may be repeated)', (id: string, ids: string[]) => [...ids, id], [])
      .option('--checkpoint <file>', 'where a search that is stopped is kept')
      .option('--resume <file>', 'go on with a search that was kept')
      .option('--out <folder>', 'keep each finding there, as JSON, token and text')
      .option('--html <file>', 'write a page that steps through the schedule of a failure')
      .option('--json', 'as JSON')
      .action(async (name: string | undefined, flags: Flags) => {
        if ((name === undefined) === (flags.all === undefined)) throw new UsageError('explore: give a scenario, or --all');
        if (flags.all && flags.html !== undefined) throw new UsageError('--html: give one scenario, not --all');
        checkPageFile(flags.html);
        try {
          if (flags.all) await runAll(flags, surroundings);
          else await runOne(name!, flags, surroundings);
        } catch (error) {
          if (error instanceof ExploreOptionError || error instanceof ScriptError) throw new UsageError(error.message);
          throw error;
        }
      });
  },
};

/** The switches of the bugs that were named. Errors: UsageError with the nearest name. */
function switchesFor(ids: readonly string[]): BugSwitches {
  const names = BUGS.map(({ id }) => id);
  for (const id of ids) if (!names.includes(id)) throw unknownName('bug', id, names);
  return Object.fromEntries(ids.map((id) => [id, true]));
}

function whole(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d+(\.\d+)?$/.test(text)) throw new UsageError(`--${name}: '${text}' is no number`);
  return Number(text);
}

function optionsOf(flags: Flags, surroundings: Surroundings): Partial<ExploreOptions> {
  const given = {
    policy: flags.policy,
    seconds: whole('time', flags.time),
    executions: whole('executions', flags.executions),
    preemptions: whole('preemptions', flags.preemptions),
    depth: whole('depth', flags.depth) ?? 5000,
    jobs: whole('jobs', flags.jobs),
    seed: whole('seed', flags.seed),
    memory: flags.memory,
    checkpoint: flags.checkpoint,
    resume: flags.resume,
    signal: surroundings.signal,
    onProgress: (progress: Progress) => surroundings.progress(progressText(progress)),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function progressText({ executions, rate, depth, share, states, missingMarks }: Progress): string {
  const parts = [`${executions} executions`, `${Math.round(rate)}/s`, `${depth} steps`, `${states} states`];
  if (share !== null) parts.push(`${(100 * share).toFixed(1)}% of the tree`);
  if (missingMarks.length > 0) parts.push(`not yet: ${missingMarks.join(', ')}`);
  return parts.join(', ');
}

async function runOne(name: string, flags: Flags, surroundings: Surroundings): Promise<void> {
  const options = optionsOf(flags, surroundings);
  const bugs = switchesFor(flags.bug);
  if (isModuleFile(name)) {
    if (flags.bug.length > 0) throw new UsageError('--bug: a program of your own has no bugs of the catalogue');
    show(await exploreProgram(await moduleSource(name), options), null, bugs, flags, surroundings);
    return;
  }
  const scenario = loadScenario(name);
  const source = (options.jobs ?? 1) > 1 ? scenarioSource(scenario, bugs) : new VmProgram(scenario, { bugs });
  show(await exploreProgram(source, options), scenario, bugs, flags, surroundings);
}

/** Prints one report, and its verdict last. */
function show(
  report: ExploreReport,
  scenario: Scenario | null,
  bugs: BugSwitches,
  flags: Flags,
  { print, progress, setExitCode, style, signal }: Surroundings,
): void {
  progress('');
  const [finding] = report.findings;
  if (finding !== undefined) setExitCode(EXIT_BROKEN);
  else if (signal.aborted) setExitCode(EXIT_INTERRUPTED);
  if (finding !== undefined && scenario !== null && flags.out !== undefined) keepFinding(flags.out, scenario, bugs, finding);
  if (finding !== undefined && scenario !== null && flags.html !== undefined)
    writeFailurePage(flags.html, scenario, bugs, finding.token);
  if (flags.json) {
    print(JSON.stringify(report, null, 1));
    return;
  }
  print(summary(report));
  if (finding === undefined) {
    print(`${signal.aborted && !report.complete ? 'INCOMPLETE' : 'PASS'}: ${verdictText(report, flags)}`);
    return;
  }
  if (scenario !== null) {
    print('');
    for (const line of describeFailure(scenario, bugs, finding.token, style)) print(line);
    print('');
    print(`replay it: tdpsim replay '${replayName(scenario.name, bugs, finding.token)}'`);
  } else {
    print(`token: ${finding.token}`);
  }
  const cut = `${finding.schedule.length} steps and ${finding.switches} context switches, of ${finding.stepsFound} and ${finding.switchesFound}`;
  print(`FAIL: ${finding.rule}: ${finding.message} (execution ${finding.execution}; cut down to ${cut})`);
}

function summary(report: ExploreReport): string {
  const { program, executions, seconds, states, stepsMax, blocked, deadlocks } = report;
  const rate = Math.round(executions / Math.max(seconds, 1e-9));
  const rest = `${blocked > 0 ? `, ${blocked} blocked` : ''}${deadlocks > 0 ? `, ${deadlocks} deadlocks` : ''}`;
  return `${program}: ${executions} executions in ${seconds.toFixed(1)} s (${rate}/s), ${states} final states, up to ${stepsMax} steps${rest}`;
}

function verdictText(report: ExploreReport, { preemptions }: Flags): string {
  const { complete, completeWithinBound, stopped, cut, approximate, missingMarks } = report;
  if (complete) return 'complete: every trace was run, and no rule was broken';
  if (completeWithinBound) {
    return `no rule was broken in any interleaving of at most ${preemptions} preemptions; those of more were not tried`;
  }
  const bounds = [
    ...(cut.preemptions > 0 ? [`${cut.preemptions} cut by --preemptions`] : []),
    ...(cut.depth > 0 ? [`${cut.depth} cut by --depth`] : []),
    ...(approximate ? ['some reversals of counts left out'] : []),
    ...(missingMarks.length > 0 ? [`never came by ${missingMarks.join(', ')}`] : []),
  ];
  return `no rule was broken; not complete (stopped by ${stopped}${bounds.length > 0 ? `; ${bounds.join('; ')}` : ''})`;
}

async function runAll(flags: Flags, surroundings: Surroundings): Promise<void> {
  const { print, progress, signal, setExitCode, style } = surroundings;
  const bugs = switchesFor(flags.bug);
  const policies = flags.policy === undefined ? ALL_POLICIES : [flags.policy];
  const all = loadAllScenarios();
  const reports: ExploreReport[] = [];
  const broken: string[] = [];
  let complete = 0;
  if (!flags.json) print(heading(style, exploreTableHead(policies)));
  for (const scenario of all) {
    const byPolicy = new Map<Policy, ExploreReport>();
    for (const policy of policies) {
      if (signal.aborted) break;
      progress(`${scenario.name} (${policy})`);
      const options = { seconds: ALL_SECONDS[policy], ...optionsOf(flags, surroundings), policy, onProgress: null };
      const jobs = options.jobs ?? 1;
      const source = jobs > 1 ? scenarioSource(scenario, bugs) : new VmProgram(scenario, { bugs });
      const report = await exploreProgram(source, options);
      reports.push(report);
      byPolicy.set(policy, report);
      const [finding] = report.findings;
      if (report.complete && finding === undefined) {
        complete++;
        break;
      }
      if (finding === undefined) continue;
      broken.push(scenario.name);
      if (flags.out !== undefined) keepFinding(flags.out, scenario, bugs, finding);
    }
    if (signal.aborted && byPolicy.size === 0) break;
    progress('');
    if (flags.json) continue;
    print(exploreTableLine(scenario.name, policies, byPolicy));
    for (const { rule, message, token } of [...byPolicy.values()].flatMap(({ findings }) => findings.slice(0, 1))) {
      print(`  ${rule}: ${message}`);
      print(`  tdpsim replay '${replayName(scenario.name, bugs, token)}'`);
    }
  }
  progress('');
  if (broken.length > 0) setExitCode(EXIT_BROKEN);
  else if (signal.aborted) setExitCode(EXIT_INTERRUPTED);
  if (flags.json) print(JSON.stringify(reports, null, 1));
  else if (broken.length > 0) print(`FAIL: ${[...new Set(broken)].join(', ')}`);
  else {
    const proved = complete > 0 ? `; ${complete} complete: every trace of theirs was run` : '';
    print(`${signal.aborted ? 'INCOMPLETE' : 'PASS'}: ${all.length} scenarios, no rule was broken${proved}`);
  }
}
