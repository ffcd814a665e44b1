/**
 * `tdpsim bugs`: the catalogue of historical bugs; one of them found and shown; or all of them hunted with each policy.
 */
import { Option } from 'commander';
import { type Catch, type HuntResult, hunt } from '../../bugs/hunt.ts';
import { BUGS, type Bug, EXPRESSIBLE, findBug, switchesOf } from '../../bugs/index.ts';
import { POLICIES, type Policy } from '../../engines/explore/options.ts';
import type { BugSwitches } from '../../mmu/bug-switches.ts';
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
      .option('--out <folder>', 'keep each finding there, as JSON, token and text')
      .option('--html <file>', 'write a page that steps through the schedule')
      .option('--json', 'as JSON')
      .action(async (id: string | undefined, flags: Flags) => {
        if (id !== undefined && flags.all) throw new UsageError('bugs: give a bug, or --all');
        if (id === undefined && flags.html !== undefined) throw new UsageError('--html: give the bug that the page is to show');
        checkPageFile(flags.html);
        if (id !== undefined) await showBug(id, flags, surroundings);
        else if (flags.all) await huntAll(flags, surroundings);
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

async function huntAll(flags: Flags, surroundings: Surroundings): Promise<void> {
  const { print, progress, signal, setExitCode, style } = surroundings;
  const seconds = secondsOf(flags, ALL_SECONDS);
  const policies = flags.policy === undefined ? STANDARD_POLICIES : [flags.policy];
  const scenarios = loadAllScenarios();
  const rows: { bug: Bug; switches: BugSwitches; results: HuntResult[] }[] = [];
  for (const bug of EXPRESSIBLE) {
    const switches = switchesOf(bug);
    const results: HuntResult[] = [];
    for (const policy of policies) {
      if (signal.aborted) break;
      progress(`${bug.id} (${policy})`);
      // Whoever comes later need not take long: that the bug can be found is known.
      const caught = results.some((result) => result.caught !== null);
      results.push(await hunt(scenarios, switches, { policy, seconds: caught ? seconds / 4 : seconds }));
    }
    rows.push({ bug, switches, results });
    for (const { caught } of results) {
      if (caught !== null && flags.out !== undefined) keepFinding(flags.out, loadScenario(caught.scenario), switches, caught);
    }
  }
  progress('');
  const missed = rows.filter(({ results }) => results.every(({ caught }) => caught === null));
  if (signal.aborted) setExitCode(EXIT_INTERRUPTED);
  else if (missed.length > 0) setExitCode(EXIT_NOT_FOUND);
  if (flags.json) {
    print(
      JSON.stringify(
        rows.map(({ bug, switches, results }) => ({ id: bug.id, switches, results })),
        null,
        1,
      ),
    );
    return;
  }
  const columns = [
    { title: 'bug', align: 'left' as const },
    ...policies.flatMap((title) => [{ title }, { title: 's' }]),
    { title: 'steps' },
    { title: 'switches' },
    { title: 'rule', align: 'left' as const },
  ];
  const [head, ...lines] = table(
    columns,
    rows.map(({ switches, results }) => cells(switches, results)),
  );
  print(
    'Executions and seconds until each policy found it, in parentheses where it did not; the shortest schedule; what was broken',
  );
  print(heading(style, head));
  for (const line of lines) print(line);
  print('');
  print(heading(style, 'not in the model'));
  for (const { id, notExpressible } of BUGS) if (notExpressible !== undefined) print(`${id}: ${notExpressible}`);
  const names = missed.map(({ switches }) => Object.keys(switches)[0]);
  if (missed.length > 0) print(`FAIL: not found: ${names.join(', ')}`);
  else print(`${signal.aborted ? 'INCOMPLETE' : 'PASS'}: all ${rows.length} were found`);
}

function cells(switches: BugSwitches, results: readonly HuntResult[]): string[] {
  const catches = results.flatMap(({ caught }) => (caught === null ? [] : [caught]));
  const [best] = catches.sort((a, b) => a.switches - b.switches || a.steps - b.steps);
  const times = results.flatMap(({ caught, executions, seconds }) => {
    const number = count(executions);
    return [caught === null ? `(${number})` : number, seconds.toFixed(1)];
  });
  const found = best === undefined ? ['-', '-', 'not found'] : [`${best.steps}`, `${best.switches}`, best.rule];
  return [Object.keys(switches)[0], ...times, ...found];
}
