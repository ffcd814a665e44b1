/**
 * `tdpsim bugs`: the catalogue of historical bugs; one of them found and shown; or all of them hunted with each policy.
 */
import { availableParallelism } from 'node:os';
import { Option } from 'commander';
import { type Catch, hunt } from '../../bugs/hunt.ts';
import { type BugHunt, huntAll } from '../../bugs/hunt-all.ts';
import { BUGS, type Bug, EXPRESSIBLE, findBug, switchesOf } from '../../bugs/index.ts';
import { POLICIES, type Policy } from '../../engines/explore/options.ts';
import { count } from '../../report/quantity.ts';
import { heading } from '../../report/style.ts';
import { table } from '../../report/table.ts';
import { loadAllScenarios, loadScenario } from '../../scenarios/library.ts';
import { UsageError, unknownName } from '../../workloads/usage-error.ts';
import type { CliCommand, Surroundings } from '../command.ts';
import { checkPageFile, describeFailure, keepFinding, replayName, writeFailurePage } from '../explore-failure.ts';

const EXIT_NOT_FOUND = 127;
const EXIT_INTERRUPTED = 130;
const STANDARD_POLICIES: readonly Policy[] = ['pct', 'random', 'partial-order'];

/** Who asks for one bug waits for it; of all of them, none may take the time of the others. */
const ONE_SECONDS = 60;
const ALL_SECONDS = 12;

interface Flags {
  readonly all?: true;
  readonly policy?: Policy;
  readonly time?: string;
  readonly jobs?: string;
  readonly out?: string;
  readonly html?: string;
  readonly json?: true;
}

export const bugs: CliCommand = {
  register(program, surroundings) {
    program
      .command('bugs')
      .argument('[id]', 'a bug: it is described, found and shown')
      .description('bugs that the KVM MMU had: the list, one of them found, or all of them hunted')
      .option('--all', 'hunt all of them, with each policy')
      .addOption(new Option('--policy <name>', `who decides (default: ${STANDARD_POLICIES.join(', ')})`).choices(POLICIES))
      .option(
        '--time <seconds>',
        `give a hunt up after so long (default: ${ONE_SECONDS}, of --all: ${ALL_SECONDS} for each policy)`,
      )
      .option('--jobs <n>', 'of --all: worker threads, each with a bug of its own (default: one for each CPU)')
      .option('--out <folder>', 'keep each finding there, as JSON, token and text')
      .option('--html <file>', 'write a page that steps through the schedule')
      .option('--json', 'as JSON')
      .action(async (id: string | undefined, flags: Flags) => {
        if (id !== undefined && flags.all) throw new UsageError('bugs: give a bug, or --all');
        if (!flags.all && flags.jobs !== undefined) throw new UsageError('--jobs: only --all has work for more than one thread');
        if (id === undefined && !flags.all) {
          for (const name of ['policy', 'time', 'out'] as const)
            if (flags[name] !== undefined) throw new UsageError(`--${name}: give a bug, or --all`);
        }
        if (id === undefined && flags.html !== undefined) throw new UsageError('--html: give the bug that the page is to show');
        checkPageFile(flags.html);
        if (id !== undefined) await showBug(id, flags, surroundings);
        else if (flags.all) await hunting(flags, surroundings);
        else list(flags, surroundings);
      });
  },
};

function list(flags: Flags, { print, style }: Surroundings): void {
  if (flags.json) {
    print(JSON.stringify(BUGS, null, 1));
    return;
  }
  const columns = ['bug', 'tier', 'kind', 'fixed', 'commit'].map((title) => ({ title, align: 'left' as const }));
  const known = BUGS.filter((bug) => bug.notExpressible === undefined);
  const [head, ...lines] = table(
    columns,
    known.map(({ id, tier, kind, fixed, commit }) => [id, tier, kind, fixed, commit ?? '-']),
  );
  print(heading(style, head));
  for (const line of lines) print(line);
  print('');
  print(heading(style, 'not in the model'));
  for (const { id, notExpressible } of BUGS) if (notExpressible !== undefined) print(`${id}: ${notExpressible}`);
  print(`${known.length} of ${BUGS.length} bugs can be put back`);
}

function secondsOf({ time }: Flags, standard: number): number {
  const seconds = Number(time ?? standard);
  if (!(seconds > 0)) throw new UsageError(`--time: '${time}' is no number of seconds`);
  return seconds;
}

async function showBug(id: string, flags: Flags, surroundings: Surroundings): Promise<void> {
  const { print, style, progress, setExitCode } = surroundings;
  const bug = findBug(id);
  if (bug === undefined)
    throw unknownName(
      'bug',
      id,
      BUGS.map((b) => b.id),
    );
  if (!flags.json) for (const line of describe(bug)) print(line);
  if (bug.notExpressible !== undefined) {
    print(flags.json ? JSON.stringify(bug, null, 1) : `not in the model: ${bug.notExpressible}`);
    return;
  }
  const scenarios = loadAllScenarios();
  const switches = switchesOf(bug);
  progress(`hunting ${id}`);
  const result = await hunt(scenarios, switches, { policy: flags.policy ?? 'pct', seconds: secondsOf(flags, ONE_SECONDS) });
  progress('');
  if (flags.json) print(JSON.stringify({ ...bug, ...result }, null, 1));
  const { caught, policy, executions, seconds } = result;
  if (caught === null) {
    setExitCode(EXIT_NOT_FOUND);
    if (!flags.json) print(`FAIL: not found in ${executions} executions, ${seconds.toFixed(1)} s`);
    return;
  }
  const scenario = loadScenario(caught.scenario);
  if (flags.out !== undefined) keepFinding(flags.out, scenario, switches, caught);
  if (flags.html !== undefined) writeFailurePage(flags.html, scenario, switches, caught.token);
  if (flags.json) return;
  print('');
  print(heading(style, `${scenario.name}: ${scenario.pits}`));
  for (const line of describeFailure(scenario, switches, caught.token, style)) print(line);
  print('');
  print(`replay it: tdpsim replay '${replayName(caught.scenario, switches, caught.token)}'`);
  print(`FOUND by ${policy} after ${executions} executions, ${seconds.toFixed(1)} s: ${shape(caught)}`);
}

const shape = ({ rule, steps, switches }: Catch): string => `${rule}, in ${steps} steps with ${switches} context switches`;

function describe(bug: Bug): string[] {
  const { id, subject, commit, introduced, fixed, faultyRule, correctRule, interleaving, invariant } = bug;
  return [
    `${id} (${bug.tier}, ${bug.category})`,
    `  ${subject}`,
    `  ${commit === null ? 'no commit' : `commit ${commit}`}, introduced ${introduced}, fixed ${fixed}`,
    `  faulty:    ${faultyRule}`,
    `  correct:   ${correctRule}`,
    ...interleaving.map((line) => `    ${line}`),
    `  must hold: ${invariant}`,
  ];
}

function jobsOf({ jobs }: Flags): number {
  if (jobs === undefined) return availableParallelism();
  if (!/^[1-9]\d{0,2}$/.test(jobs)) throw new UsageError(`--jobs: '${jobs}' is no number of threads from 1 to 999`);
  return Number(jobs);
}

/** Hunts all bugs: `--all`. */
async function hunting(flags: Flags, surroundings: Surroundings): Promise<void> {
  const { print, progress, signal, setExitCode, style } = surroundings;
  const begin = performance.now();
  const policies = flags.policy === undefined ? STANDARD_POLICIES : [flags.policy];
  const done: BugHunt[] = [];
  const progressText = () =>
    progress(
      `${done.length} of ${EXPRESSIBLE.length} hunted, ${done.filter(isFound).length} found; last: ${done.at(-1)?.id ?? '-'}`,
    );
  progressText();
  const rows = await huntAll(EXPRESSIBLE, {
    policies,
    seconds: secondsOf(flags, ALL_SECONDS),
    jobs: jobsOf(flags),
    signal,
    onDone(found) {
      done.push(found);
      progressText();
    },
  });
  progress('');
  const seconds = (performance.now() - begin) / 1000;
  for (const { id, results } of flags.out === undefined ? [] : rows) {
    for (const { caught } of results)
      if (caught !== null) keepFinding(flags.out as string, loadScenario(caught.scenario), { [id]: true }, caught);
  }
  const missed = rows.filter((row) => !isFound(row)).map(({ id }) => id);
  if (missed.length > 0) setExitCode(EXIT_NOT_FOUND);
  else if (signal.aborted) setExitCode(EXIT_INTERRUPTED);
  if (flags.json) {
    const bugs = rows.map(({ id, results }) => ({ id, found: isFound({ id, results }), results }));
    const notExpressible = BUGS.flatMap(({ id, notExpressible: reason }) => (reason === undefined ? [] : [{ id, reason }]));
    print(JSON.stringify({ seconds, found: rows.length - missed.length, missed, bugs, notExpressible }, null, 1));
    return;
  }
  const columns = [
    { title: 'bug', align: 'left' as const },
    ...policies.flatMap((title) => [{ title }, { title: 's' }]),
    { title: 'steps' },
    { title: 'switches' },
    { title: 'rule', align: 'left' as const },
  ];
  const [head, ...lines] = table(columns, rows.map(cells));
  print(
    'Executions and seconds until each policy found it, in parentheses where it did not; the shortest schedule; what was broken',
  );
  print(heading(style, head));
  for (const line of lines) print(line);
  print('');
  print(heading(style, 'not in the model'));
  for (const { id, notExpressible } of BUGS) if (notExpressible !== undefined) print(`${id}: ${notExpressible}`);
  const found = `${rows.length - missed.length} of ${EXPRESSIBLE.length} bugs found in ${seconds.toFixed(0)} s`;
  if (missed.length > 0) print(`FAIL: ${found}; not found: ${missed.join(', ')}`);
  else print(`${signal.aborted ? 'INCOMPLETE' : 'PASS'}: ${found}`);
}

const isFound = ({ results }: BugHunt): boolean => results.some(({ caught }) => caught !== null);

function cells({ id, results }: BugHunt): string[] {
  const catches = results.flatMap(({ caught }) => (caught === null ? [] : [caught]));
  const [best] = catches.sort((a, b) => a.switches - b.switches || a.steps - b.steps);
  const times = results.flatMap(({ caught, executions, seconds }) => {
    const number = count(executions);
    return [caught === null ? `(${number})` : number, seconds.toFixed(1)];
  });
  const found = best === undefined ? ['-', '-', 'not found'] : [`${best.steps}`, `${best.switches}`, best.rule];
  return [id, ...times, ...found];
}
