/**
 * Simulations of the papers, from options as they would stand on the command line.
 */
import type { MachineProfile } from '../engines/virtual/profile.ts';
import type { KernelBehaviours } from '../mmu/generation.ts';
import type { SimulationOutcome, SimulationTask } from '../simulate/simulation.ts';
import { findWorkload } from '../workloads/index.ts';
import { parseOptions } from '../workloads/option.ts';
import { runSettings } from '../workloads/run-settings.ts';

export interface TaskInput {
  readonly workload: string;
  readonly profile: MachineProfile;
  readonly options: Readonly<Record<string, string | boolean>>;
  readonly settings?: Readonly<Record<string, string>>;
  readonly sets?: readonly string[];
  /** What is to be otherwise than in the kernel of `settings`. */
  readonly behaviours?: KernelBehaviours;
}

export function taskFor({ workload, profile, options, settings = {}, sets = [], behaviours }: TaskInput): SimulationTask {
  const run = runSettings(settings, sets);
  return {
    workload,
    profile,
    options: parseOptions(findWorkload(workload).options, options),
    settings: behaviours === undefined ? run : { ...run, vm: { ...run.vm, behaviours } },
  };
}

/** The `i`-th time of a phase, from 0, in nanoseconds. Errors: the run did not get there. */
export function phaseNs({ measurement, result }: SimulationOutcome, name: string, i = 0): number {
  const ns = measurement.phases.find((phase) => phase.name === name)?.ns[i];
  if (ns === undefined) throw new Error(`the simulation did not come to ${name} ${i + 1}: ${result.reason}`);
  return ns;
}
