/**
 * `tdpsim script FILE`: runs a scenario and prints, phase by phase, what it did to the page table.
 */
import { type Command, Option } from 'commander';
import { DEFAULT_KERNEL, KERNELS, type KernelName } from '../../mmu/generation.ts';
import { ITER_MODES, type IterName } from '../../mmu/params.ts';
import { heading, paint } from '../../report/style.ts';
import { phaseText } from '../../script/print/phase-text.ts';
import { recordingJson } from '../../script/print/recording-json.ts';
import { TracePrinter } from '../../script/print/trace-text.ts';
import { readScript } from '../../script/read-script.ts';
import { changeKinds } from '../../script/record/kinds.ts';
import type { Script } from '../../script/script.ts';
import { UsageError } from '../../workloads/usage-error.ts';
import type { CliCommand, Surroundings } from '../command.ts';
import { ENGINES, type EngineName, runScriptFile, SCHEDULES, type ScheduleName, type ScriptOutcome } from '../run-script.ts';

interface Flags {
  readonly json?: true;
  readonly trace?: true;
  readonly kernel: KernelName;
  readonly iter?: IterName;
  readonly engine: EngineName;
  readonly schedule: ScheduleName;
  readonly seed: string;
  readonly perturb: string;
  readonly flushOnEntry?: true;
}

export const script: CliCommand = {
  register(program: Command, surroundings: Surroundings): void {
    program
      .command('script')
      .argument('<file>', 'a scenario; its language is described in src/script/language.md')
      .description('run a scenario and print its SPTE changes, lock holds, flushes and statistics, phase by phase')
      .option('--json', 'as JSON, in the shape of the recordings that `conform` reads')
      .option('--trace', "as the text of the kernel's tracepoints, which `stress trace` replays")
      .addOption(
        new Option('--kernel <name>', 'the kernel where the scenario names none')
          .choices(Object.keys(KERNELS))
          .default(DEFAULT_KERNEL),
      )
      .addOption(
        new Option('--iter <name>', 'how walks pass empty entries, whatever the scenario says').choices(Object.keys(ITER_MODES)),
      )
      .addOption(
        new Option('--engine <name>', 'what runs it: one thread by a schedule, worker threads, or the virtual clock')
          .choices(ENGINES)
          .default('schedule'),
      )
      .addOption(
        new Option('--schedule <name>', 'whose step is next where threads run side by side (of --engine schedule)')
          .choices(SCHEDULES)
          .default('random'),
      )
      .option('--seed <n>', 'of what is drawn at random', '1')
      .option('--perturb <p>', 'probability of a delay before each shared access (of --engine threads)', '0')
      .option('--flush-on-entry', 'each guest entry finds an empty TLB, as on the recorded machine')
      .action((file: string, flags: Flags) => runFile(file, flags, surroundings));
  },
};

async function runFile(file: string, flags: Flags, surroundings: Surroundings): Promise<void> {
  const { kernel, iter, engine, schedule } = flags;
  const seed = Number(flags.seed);
  if (!/^\d+$/.test(flags.seed) || !Number.isSafeInteger(seed))
    throw new UsageError(`--seed: '${flags.seed}' is no whole number`);
  const perturb = Number(flags.perturb);
  if (flags.perturb.trim() === '' || !(perturb >= 0 && perturb <= 1)) {
    throw new UsageError(`--perturb: '${flags.perturb}' is no probability (allowed: 0 to 1)`);
  }
  if (perturb > 0 && engine !== 'threads') throw new UsageError('--perturb: only --engine threads can be delayed');
  if (flags.json && flags.trace) throw new UsageError('--json and --trace exclude each other');
  const source = readScript(file);
  const { signal } = surroundings;
  const flushOnEntry = flags.flushOnEntry === true;
  const outcome = await runScriptFile(source, { kernel, iter, engine, schedule, seed, perturb, flushOnEntry, signal });
  surroundings.setExitCode(outcome.verdict.exitCode);
  printOutcome(source, outcome, flags, surroundings);
}

function printOutcome(source: Script, outcome: ScriptOutcome, flags: Flags, { print, style }: Surroundings): void {
  const { kvm, phases, verdict } = outcome;
  if (flags.json) {
    print(JSON.stringify(recordingJson({ script: source, kvm, phases, engine: flags.engine, verdict }), null, 1));
    return;
  }
  if (flags.trace) {
    const trace = new TracePrinter({ print, kvm, script: source });
    for (const [n, phase] of phases.entries()) trace.phase(phase, source.phases[n].operations);
    // The text is a trace to its end: what is no event is a comment.
    print(`# ${verdict.kind}  ${verdict.text}`);
    return;
  }
  const kinds = changeKinds(kvm);
  const text = { kinds, describe: kvm.spte.describe.bind(kvm.spte), heading: (words: string) => heading(style, words) };
  for (const [n, phase] of phases.entries()) {
    if (n > 0) print('');
    for (const line of phaseText(phase, source.phases[n].operations, text)) print(line);
  }
  if (phases.length > 0) print('');
  const colour = verdict.kind === 'PASS' ? 'green' : verdict.kind === 'FAIL' ? 'red' : 'yellow';
  print(paint(style, colour, `${verdict.kind}  ${verdict.text}`));
}
