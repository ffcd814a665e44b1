/**
 * `tdpsim sweep NAME --vcpus 1,2,4,…`: a workload by number of vCPUs, for each combination of locks and settings.
 */
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { SimulationPool } from '../../simulate/pool.ts';
import type { SimulationTask } from '../../simulate/simulation.ts';
import { type SweepPoint, sweepCsv, sweepPoint, sweepReport } from '../../simulate/sweep.ts';
import { vcpuList } from '../../simulate/vcpu-list.ts';
import { findWorkload, WORKLOADS } from '../../workloads/index.ts';
import { UsageError } from '../../workloads/usage-error.ts';
import type { Workload } from '../../workloads/workload.ts';
import type { CliCommand, Surroundings } from '../command.ts';
import { addSimulationOptions, taskOf } from './simulate.ts';

/** Every workload but those whose vCPUs are in a file. */
const SWEPT = WORKLOADS.filter(({ options }) => options.some(({ key }) => key === 'vcpus'));
const STANDARD_VCPUS = '1,2,4,8,16,32,64,96';
/** Memory of each vCPU unless told: enough for the rate to settle. */
const STANDARD_BYTES = '512K';

export const sweep: CliCommand = {
  register(program, surroundings) {
    const command = program
      .command('sweep')
      .description('simulate a workload by number of vCPUs and find where it stops scaling')
      .argument('[name]', 'the workload')
      .action((name: string | undefined) => {
        if (name === undefined) throw new UsageError(`sweep: give a workload: ${SWEPT.map((w) => w.name).join(', ')}`);
        findWorkload(name);
        throw new UsageError(`sweep: the vCPUs of ${name} cannot be varied`);
      });
    for (const workload of SWEPT) command.addCommand(workloadCommand(workload, surroundings));
  },
};

interface SweepValues extends Record<string, unknown> {
  readonly vcpus?: string;
  readonly lock?: string;
  readonly bytes?: string;
  readonly profile?: string;
  readonly csv?: string;
  readonly json?: string;
  readonly vary?: readonly string[];
}

function workloadCommand(workload: Workload, surroundings: Surroundings): Command {
  const command = new Command(workload.name).summary(workload.summary).description(workload.summary);
  command
    .option('-v, --vcpus <list>', `numbers of vCPUs, for example 1,2,4,8 or 1,…,416, which doubles (default: ${STANDARD_VCPUS})`)
    .option('--lock <list>', 'what mmu_lock is: rwlock, spinlock, or both: rwlock,spinlock (default: rwlock)')
    .option(
      '--vary <name=a,b>',
      'a module parameter with several values (may be repeated)',
      (value: string, values: string[]) => [...values, value],
      [],
    );
  return addSimulationOptions(command, workload, ['vcpus', 'lock'])
    .option('--csv <file>', 'write the table as comma-separated values (-: to stdout, instead of the report)')
    .option('--json <file>', 'write the table as JSON (-: to stdout, instead of the report)')
    .action(async () => {
      await runSweep(workload, command.opts(), surroundings);
    });
}

/** Every combination of locks and of the values to vary: the settings, and what to call them. Errors: UsageError. */
function variants({ lock = 'rwlock', vary = [] }: SweepValues): { name: string; lock: string; set: string[] }[] {
  const locks = [...new Set(lock.split(',').map((part) => part.trim()))];
  let sets: string[][] = [[]];
  for (const text of vary) {
    const [, name, values] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (name === undefined) throw new UsageError(`--vary ${text}: give name=value,value, for example eager_page_split=N,Y`);
    sets = sets.flatMap((set) => [...new Set(values.split(','))].map((value) => [...set, `${name}=${value.trim()}`]));
  }
  return locks.flatMap((one) => sets.map((set) => ({ name: [`lock=${one}`, ...set].join(' '), lock: one, set })));
}

async function runSweep(workload: Workload, values: SweepValues, surroundings: Surroundings): Promise<void> {
  const { print, progress, signal, setExitCode } = surroundings;
  const vcpus = vcpuList(values.vcpus ?? STANDARD_VCPUS);
  const set = (values.set as string[] | undefined) ?? [];
  const largest = String(vcpus[vcpus.length - 1]);
  const tasks: { variant: string; vcpus: number; task: SimulationTask }[] = variants(values).flatMap((variant) =>
    vcpus.map((n) => {
      const given = { vcpus: String(n), lock: variant.lock, bytesPerVcpu: values.bytes ?? STANDARD_BYTES };
      const task = taskOf(workload, undefined, { ...values, set: [...set, ...variant.set] }, given);
      // All points on the same machine, or they could not be compared.
      const { profile } = taskOf(workload, undefined, { ...values, set }, { ...given, vcpus: largest });
      return { variant: variant.name, vcpus: n, task: { ...task, profile } };
    }),
  );
  const pool = new SimulationPool({ signal });
  let done = 0;
  const began = performance.now();
  const show = (): void => {
    const seconds = (performance.now() - began) / 1000;
    const left = done === 0 ? '' : `, about ${((seconds / done) * (tasks.length - done)).toFixed(0)} s to go`;
    progress(`${workload.name}: ${done} of ${tasks.length} simulations done in ${seconds.toFixed(0)} s${left}`);
  };
  show();
  // The large ones first, so that none is left alone at the end.
  const order = [...tasks].sort((a, b) => b.vcpus - a.vcpus);
  const points = new Map<object, SweepPoint>();
  try {
    await Promise.all(
      order.map(async (one) => {
        const outcome = await pool.run(one.task);
        points.set(one, sweepPoint(one.variant, one.vcpus, outcome));
        done++;
        show();
      }),
    );
  } finally {
    await pool.close();
    progress('');
  }
  const rows = tasks.map((one) => points.get(one)!);
  if (rows.some(({ complete }) => !complete)) setExitCode(signal.aborted ? 130 : 128);
  const csv = sweepCsv(rows);
  const json = `${JSON.stringify({ schema: 'tdpsim-sweep', workload: workload.name, points: rows }, null, 1)}\n`;
  if (values.csv === '-' || values.json === '-') {
    print((values.csv === '-' ? csv : json).trimEnd());
    return;
  }
  if (values.csv !== undefined) writeFileSync(values.csv, csv);
  if (values.json !== undefined) writeFileSync(values.json, json);
  for (const line of sweepReport(rows)) print(line);
}
