/**
 * `tdpsim script FILE`: runs a scenario and prints, phase by phase, what it did to the page table.
 */
import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { InvariantError } from '../../machine/invariant.ts';
import { DEFAULT_KERNEL, KERNELS, type KernelName } from '../../mmu/generation.ts';
import { heading } from '../../report/style.ts';
import { parseScript } from '../../script/parse.ts';
import { phaseText } from '../../script/print/phase-text.ts';
import { recordingJson } from '../../script/print/recording-json.ts';
import { TracePrinter } from '../../script/print/trace-text.ts';
import type { PhaseRecord } from '../../script/record/event.ts';
import { changeKinds } from '../../script/record/kinds.ts';
import { RUN_DEFAULTS, ScriptRunner } from '../../script/run-script.ts';
import { IOCTL_THREAD, type Script } from '../../script/script.ts';
import { ExpectationError, ScriptError } from '../../script/script-error.ts';
import { UsageError, unreadableText } from '../../workloads/usage-error.ts';
import type { CliCommand, Surroundings } from '../command.ts';

interface Flags {
  readonly json?: true;
  readonly trace?: true;
  readonly kernel: KernelName;
  readonly seed: string;
  readonly flushOnEntry?: true;
}

const EXIT_BROKEN = 127;
const EXIT_NO_PROGRESS = 128;
const NO_PROGRESS: readonly string[] = ['deadlock', 'no-progress'];

export const script: CliCommand = {
  register(program: Command, surroundings: Surroundings): void {
    program
      .command('script')
      .argument('<file>', 'a scenario; its language is described in src/script/language.md')
      .description('run a scenario and print its SPTE changes, lock holds, flushes and statistics, phase by phase')
      .option('--json', 'as JSON, in the shape of the recordings that `conform` reads')
      .option('--trace', "as the text of the kernel's tracepoints")
      .addOption(
        new Option('--kernel <name>', 'the kernel where the scenario names none')
          .choices(Object.keys(KERNELS))
          .default(DEFAULT_KERNEL),
      )
      .option('--seed <n>', 'decides the order of steps where threads run side by side', '1')
      .option('--flush-on-entry', 'each guest entry finds an empty TLB, as on the recorded machine')
      .action((file: string, flags: Flags) => runFile(file, flags, surroundings));
  },
};

function runFile(file: string, flags: Flags, surroundings: Surroundings): void {
  const { print, setExitCode } = surroundings;
  const source = parseScript(readScript(file), file);
  const seed = Number(flags.seed);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new UsageError(`--seed: '${flags.seed}' is no number`);
  if (flags.json && flags.trace) throw new UsageError('--json and --trace exclude each other');
  const options = { ...RUN_DEFAULTS, kernel: flags.kernel, seed, flushOnEntry: flags.flushOnEntry === true };
  const runner = new ScriptRunner(source, options);
  try {
    printRun(source, runner, flags, surroundings);
  } catch (error) {
    if (error instanceof ExpectationError) {
      print(`FAIL  ${error.message}`);
      setExitCode(EXIT_BROKEN);
    } else if (error instanceof InvariantError) {
      print(`FAIL  ${error.rule}: ${error.message}`);
      setExitCode(NO_PROGRESS.includes(error.rule) ? EXIT_NO_PROGRESS : EXIT_BROKEN);
    } else {
      throw error;
    }
  }
}

function readScript(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new ScriptError({ file, line: 0, message: unreadableText(code, 'a scenario') ?? `cannot be read: ${message}` });
  }
}

function printRun(source: Script, runner: ScriptRunner, flags: Flags, { print, style }: Surroundings): void {
  const { kvm } = runner.machine.thread(IOCTL_THREAD).vm;
  const kinds = changeKinds(kvm);
  const trace = flags.trace ? new TracePrinter(print) : null;
  const phases: PhaseRecord[] = [];
  for (const [n, phase] of source.phases.entries()) {
    const record = runner.runPhase(phase, n);
    phases.push(record);
    if (trace !== null) {
      for (const event of record.events) trace.event(event, (level) => kvm.geometry.span(level));
    } else if (!flags.json) {
      const text = { kinds, describe: kvm.spte.describe.bind(kvm.spte), heading: (words: string) => heading(style, words) };
      if (n > 0) print('');
      for (const line of phaseText(record, phase.operations, text)) print(line);
    }
  }
  if (flags.json) print(JSON.stringify(recordingJson({ script: source, machine: runner.machine, phases }), null, 1));
}
