/**
 * `tdpsim simulate NAME`: a workload on the virtual clock of a modelled machine, with the report of `stress` and more.
 */
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import manifest from '../../../package.json' with { type: 'json' };
import { runRecord } from '../../report/json.ts';
import type { RunOutcome } from '../../report/outcome.ts';
import { duration } from '../../report/quantity.ts';
import { runReport, verdictText } from '../../report/run-report.ts';
import { verdictOf } from '../../report/verdict.ts';
import { virtualReport } from '../../report/virtual-report.ts';
import { SimulationPool } from '../../simulate/pool.ts';
import { expectedAccesses, type SimulationOutcome, type SimulationTask } from '../../simulate/simulation.ts';
import type { SimulationProgress } from '../../simulate/worker.ts';
import { findWorkload, WORKLOADS } from '../../workloads/index.ts';
import { numberOf, parseOptions } from '../../workloads/option.ts';
import { RUN_OPTIONS, runSettings } from '../../workloads/run-settings.ts';
import { UsageError } from '../../workloads/usage-error.ts';
import type { Workload } from '../../workloads/workload.ts';
import type { CliCommand, Surroundings } from '../command.ts';
import { addOptions, givenValues } from '../option-flags.ts';
import { PROFILE_HELP, profileOption } from '../profile-option.ts';

/** A delay before shared accesses provokes races between real threads; here prices decide. */
const SETTINGS = RUN_OPTIONS.filter(({ key }) => key !== 'perturb');
/** vCPUs whose latencies are printed; JSON has all. */
const VCPUS_SHOWN = 8;

export const simulate: CliCommand = {
  register(program, surroundings) {
    const command = program
      .command('simulate')
      .description('run a workload on the virtual clock of a modelled machine: up to 1024 vCPUs, repeatable to the bit')
      .argument('[name]', 'the workload')
      .addHelpText('after', '\nThe options of a workload: tdpsim simulate NAME --help')
      .action((name: string | undefined) => {
        if (name === undefined) throw new UsageError(`simulate: give a workload: ${WORKLOADS.map((w) => w.name).join(', ')}`);
        findWorkload(name);
      });
    for (const workload of WORKLOADS) command.addCommand(workloadCommand(workload, surroundings));
  },
};

const collect = (value: string, values: string[]): string[] => [...values, value];

/** The options of a workload on the virtual clock: shared with `sweep`. */
export function addSimulationOptions(command: Command, workload: Workload, without: readonly string[] = []): Command {
  addOptions(
    command,
    workload.options.filter(({ key }) => !without.includes(key)),
  );
  command.optionsGroup('Options of all workloads:');
  addOptions(
    command,
    SETTINGS.filter(({ key }) => !without.includes(key)),
  );
  return command
    .option('--set <name=value>', 'set a module parameter, for example eager_page_split=N (may be repeated)', collect, [])
    .option('--profile <name|file.json>', PROFILE_HELP);
}

/** A task from what the user wrote. Errors: UsageError. */
export function taskOf(
  workload: Workload,
  operand: string | undefined,
  values: Readonly<Record<string, unknown>> & { readonly set?: readonly string[]; readonly profile?: string },
  given: Readonly<Record<string, string>> = {},
): SimulationTask {
  const options = parseOptions(workload.options, { ...givenValues(workload.options, values), ...given });
  const settings = runSettings({ ...givenValues(SETTINGS, values), ...given }, values.set ?? []);
  const vcpus = typeof options.vcpus === 'number' ? numberOf(options, 'vcpus') : 1;
  return { workload: workload.name, options, settings, operand, profile: profileOption(values.profile, vcpus) };
}

function workloadCommand(workload: Workload, surroundings: Surroundings): Command {
  const { name, summary, selftest, operand } = workload;
  const command = new Command(name)
    .summary(summary)
    .description(selftest ? `${summary} (${selftest} of the kernel's selftests)` : summary);
  if (operand) command.argument(`[${operand.toLowerCase()}]`, 'a recorded trace: ftrace text, gzipped or not');
  return addSimulationOptions(command, workload)
    .option('--lockstat', 'print locks in the layout of /proc/lock_stat (bounces are 0: the model has none)')
    .option('--json <file>', 'write everything that was measured as JSON (-: to stdout, instead of the report)')
    .action(async (...args: unknown[]) => {
      const file = operand ? (args[0] as string | undefined) : undefined;
      await simulateWorkload(workload, file, command.opts(), surroundings);
    });
}

async function simulateWorkload(
  workload: Workload,
  operand: string | undefined,
  values: Record<string, unknown> & { lockstat?: boolean; json?: string },
  surroundings: Surroundings,
): Promise<void> {
  const { print, style, signal } = surroundings;
  const { lockstat = false, json } = values;
  const task = { ...taskOf(workload, operand, values), check: true };
  const pool = new SimulationPool({ workers: 1, signal });
  const simulated = await pool.run(task, (progress) => surroundings.progress(progressText(task, progress)));
  await pool.close();
  surroundings.progress('');
  const outcome: RunOutcome = { ...simulated, workload };
  const verdict = verdictOf(outcome);
  surroundings.setExitCode(verdict.exitCode);
  if (json !== undefined) {
    const text = simulationJson(simulated, outcome);
    if (json === '-') {
      print(text);
      return;
    }
    writeFileSync(json, `${text}\n`);
  }
  for (const line of runReport(shortened(outcome), { style, lockstat })) print(line);
  for (const line of virtualReport(simulated.virtual, style)) print(line);
  print('');
  print(verdictText(verdict, style));
}

/** The record without anything that differs between equal runs. */
function simulationJson({ virtual }: SimulationOutcome, outcome: RunOutcome): string {
  const record = runRecord(outcome, verdictOf(outcome), { version: manifest.version });
  return JSON.stringify({ ...record, engine: 'virtual', virtual }, null, 1);
}

/** Only the first vCPUs are listed one by one. */
function shortened(outcome: RunOutcome): RunOutcome {
  const { measurement, result } = outcome;
  const few = <T extends { role: string; index: number }>(rows: readonly T[]): T[] =>
    rows.filter(({ role, index }) => role !== 'vcpu' || index < VCPUS_SHOWN);
  return {
    ...outcome,
    measurement: { ...measurement, threads: few(measurement.threads) },
    result: { ...result, threads: few(result.threads) },
  };
}

/** Virtual time, speed, and the end as far as it can be told. */
function progressText(task: SimulationTask, { elapsedMs, timeNs, steps, accesses }: SimulationProgress): string {
  const speed = `${(steps / elapsedMs / 1000).toFixed(1)} M steps/s`;
  const expected = expectedAccesses(task);
  const left = expected === null || accesses === 0 ? '' : `, about ${leftText(elapsedMs, accesses / expected)} to go`;
  return `${task.workload}: ${duration(timeNs)} of virtual time, ${speed}${left}`;
}

const leftText = (elapsedMs: number, part: number): string => duration(Math.max(0, (elapsedMs / part - elapsedMs) * 1e6));
