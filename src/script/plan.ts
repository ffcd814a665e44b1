/**
 * A script as a plan for the engines: a thread for each vCPU that it uses, one that issues the ioctls and conducts, one for each
 * thread that it names, and the worker that zaps roots in the kernels that have one.
 */
import type { EnginePlan, EngineThread } from '../engines/plan.ts';
import { KERNELS, type KernelName } from '../mmu/generation.ts';
import type { IterName } from '../mmu/params.ts';
import { CONTROL_WORDS } from '../workloads/programs/control.ts';
import { type ScriptInput, scriptControlWords } from '../workloads/programs/script-thread.ts';
import { HOST_PROFILES } from './host-profile.ts';
import { CODE_SLOT, configOf, regionsByAddress, vmOf } from './machine.ts';
import { isVcpuThread, type ScriptProgram, scriptProgram } from './program.ts';
import { IOCTL_THREAD, type Script, SHELL_THREAD } from './script.ts';

export interface ScriptPlanOptions {
  /** The kernel where the script names none. */
  readonly kernel: KernelName;
  /** How walks pass empty entries, instead of what the script says. */
  readonly iter?: IterName | undefined;
  readonly flushOnEntry: boolean;
  readonly seed: number;
  /** Whether threads are asked for their processor by the script's `resched` alone, so that nothing depends on the time. */
  readonly reschedByScript?: boolean;
}

export interface ScriptPlan {
  readonly plan: EnginePlan;
  readonly program: ScriptProgram;
  readonly controlWords: number;
}

const ZAP_WORKER: EngineThread = { role: 'zap', name: 'zap worker', program: 'script-zap-worker', index: 0, daemon: true };

/** Errors: ScriptError for a VM that cannot be made. */
export function scriptPlan(script: Script, options: ScriptPlanOptions): ScriptPlan {
  const { kernel, iter, flushOnEntry, seed, reschedByScript = false } = options;
  const vm = vmOf(script);
  const program = scriptProgram(script);
  const config = configOf(script, vm, program.threads.length, { kernel, iter, flushOnEntry, needbreak: true });
  const zapWorker = KERNELS[config.kernel].rootZapBy === 'worker';
  const input: ScriptInput = {
    program,
    codeSlot: vm.code !== 0 ? CODE_SLOT : null,
    flushOnEntry,
    reschedByScript,
    regionsByAddress: regionsByAddress(config.memory),
    reclaimWalksTables: HOST_PROFILES[config.kernel].reclaimWalksTables,
  };
  const threads = program.threads.map(
    (name, i): EngineThread => ({ ...roleOf(name, i), name, program: 'script', daemon: false }),
  );
  const plan: EnginePlan = {
    workload: 'script',
    options: { script: JSON.stringify(input) },
    seed,
    vm: { ...config, zapWorker },
    params: {},
    threads: zapWorker ? [...threads, ZAP_WORKER] : threads,
  };
  return { plan, program, controlWords: CONTROL_WORDS + scriptControlWords(program) };
}

function roleOf(name: string, i: number): Pick<EngineThread, 'role' | 'index'> {
  if (isVcpuThread(name)) return { role: 'vcpu', index: Number(name.slice('vcpu'.length)) };
  if (name === IOCTL_THREAD) return { role: 'ioctl', index: 0 };
  return { role: 'host', index: name === SHELL_THREAD ? 0 : i };
}
