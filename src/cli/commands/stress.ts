/**
 * `tdpsim stress NAME`: a workload on real threads, with a report.
 */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import manifest from '../../../package.json' with { type: 'json' };
import { THREADS_MAX } from '../../engines/threads/run-threads.ts';
import { runRecord } from '../../report/json.ts';
import { runReport, verdictText } from '../../report/run-report.ts';
import { verdictOf } from '../../report/verdict.ts';
import { scenariosAlike } from '../../scenarios/alike.ts';
import { findWorkload, WORKLOADS } from '../../workloads/index.ts';
import { type OptionSpec, parseOptions } from '../../workloads/option.ts';
import { RUN_OPTIONS, runSettings } from '../../workloads/run-settings.ts';
import { UsageError } from '../../workloads/usage-error.ts';
import type { Workload } from '../../workloads/workload.ts';
import type { CliCommand, Surroundings } from '../command.ts';
import { addOptions, givenValues } from '../option-flags.ts';
import { runWorkload, tooManyThreads } from '../run-workload.ts';

export const stress: CliCommand = {
  register(program, surroundings) {
    const command = program
      .command('stress')
      .description('run a workload on real threads and report who waited for what')
      .argument('[name]', 'the workload')
      .addHelpText('after', '\nThe options of a workload: tdpsim stress NAME --help')
      .action((name: string | undefined) => {
        if (name === undefined) throw new UsageError(`stress: give a workload: ${WORKLOADS.map((w) => w.name).join(', ')}`);
        findWorkload(name);
      });
    for (const workload of WORKLOADS) command.addCommand(workloadCommand(workload, surroundings));
  },
};

const collect = (value: string, values: string[]): string[] => [...values, value];

function workloadCommand(workload: Workload, surroundings: Surroundings): Command {
  const { name, summary, selftest, operand } = workload;
  const command = new Command(name)
    .summary(summary)
    .description(selftest ? `${summary} (${selftest} of the kernel's selftests)` : summary);
  if (operand) command.argument(`[${operand.toLowerCase()}]`, 'a recorded trace: ftrace text, gzipped or not');
  addOptions(command, workload.options);
  command.optionsGroup('Options of all workloads:');
  addOptions(command, RUN_OPTIONS);
  return command
    .option('--set <name=value>', 'set a module parameter, for example eager_page_split=N (may be repeated)', collect, [])
    .option('--lockstat', 'print locks in the layout of /proc/lock_stat (bounces are 0: the model has none)')
    .option('--json <file>', 'write everything that was measured as JSON (-: to stdout, instead of the report)')
    .action(async (...args: unknown[]) => {
      const file = operand ? (args[0] as string | undefined) : undefined;
      await stressWorkload(workload, file, command.opts(), surroundings);
    });
}

interface OutputOptions {
  readonly set: readonly string[];
  readonly lockstat?: boolean;
  readonly json?: string;
}

async function stressWorkload(
  workload: Workload,
  operand: string | undefined,
  values: Record<string, unknown> & Partial<OutputOptions>,
  surroundings: Surroundings,
): Promise<void> {
  const { set = [], lockstat = false, json } = values;
  const table = workload.options.map(limited);
  const given = givenValues(table, values);
  if (Number(given.vcpus) > THREADS_MAX) throw tooManyThreads(String(given.vcpus));
  const options = parseOptions(table, given);
  const common = runSettings(givenValues(RUN_OPTIONS, values), set);
  if (json !== undefined && json !== '-') checkWritable(json);
  const prepared = await workload.plan(options, common, operand);
  const outcome = await runWorkload({ workload, prepared, common, surroundings });
  const verdict = verdictOf(outcome);
  surroundings.setExitCode(verdict.exitCode);
  const { style, print } = surroundings;
  if (json !== undefined) {
    const about = { version: manifest.version, node: process.version };
    const text = JSON.stringify(runRecord(outcome, verdict, about), null, 1);
    if (json === '-') {
      print(text);
      return;
    }
    writeFileSync(json, `${text}\n`);
  }
  for (const line of runReport(outcome, { style, lockstat })) print(line);
  print('');
  if (verdict.kind === 'FAIL') for (const line of wayToSchedule(workload.name)) print(line);
  print(verdictText(verdict, style));
}

/** Real threads do not repeat themselves: what to explore instead, to find the failure with a schedule. */
function wayToSchedule(workload: string): string[] {
  const names = scenariosAlike(workload);
  if (names.length === 0) return [];
  return [
    'To look for it with a schedule that can be replayed, explore what pits the same operations against each other:',
    ...names.map((name) => `  tdpsim explore ${name} --policy pct --time 30`),
    '',
  ];
}

/** Real threads are fewer than the vCPUs of the virtual clock. */
const limited = (spec: OptionSpec): OptionSpec =>
  spec.key === 'vcpus' && spec.kind === 'number' ? { ...spec, max: Math.min(spec.max, THREADS_MAX) } : spec;

/** Before the run, not after it. */
function checkWritable(file: string): void {
  try {
    closeSync(openSync(file, 'a'));
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const why = { ENOENT: 'there is no such folder', EISDIR: 'is a directory', EACCES: 'may not be written' }[code] ?? code;
    throw new UsageError(`--json ${file}: ${why}`);
  }
}
