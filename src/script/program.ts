/**
 * A script as the threads of an engine run it: its steps in one row, each with the threads that run side by side in it, as plain
 * data that crosses into workers.
 */
import { IOCTL_THREAD, type Script, vcpuOf, vcpuThread } from './script.ts';
import type { Operation } from './vocabulary.ts';

export interface ProgramOperation {
  /** Place among the operations of its phase. */
  readonly index: number;
  readonly operation: Operation;
  /** The thread that executes it: a vCPU runs on a thread of its own, whoever asks for it, and waits for the result. */
  readonly on: string;
}

/** A thread of the script: its operations one after the other. */
export interface ProgramLane {
  readonly name: string;
  readonly operations: readonly ProgramOperation[];
}

export interface ProgramStep {
  readonly phase: number;
  /** Whether it is the last one of its phase. */
  readonly endsPhase: boolean;
  readonly lanes: readonly ProgramLane[];
}

export interface ScriptProgram {
  readonly steps: readonly ProgramStep[];
  /** Names of the threads that execute operations; the one that issues ioctls is always there. */
  readonly threads: readonly string[];
}

export function scriptProgram(script: Script): ScriptProgram {
  const steps: ProgramStep[] = [];
  const vcpus = new Set<number>();
  const others = new Set([IOCTL_THREAD]);
  for (const [phase, { operations, steps: own }] of script.phases.entries()) {
    const indexOf = new Map(operations.map((operation, i) => [operation, i]));
    const program = own.map(({ threads }) =>
      threads.map(
        ({ name, operations: row }): ProgramLane => ({
          name,
          operations: row.map((operation) => {
            const vcpu = vcpuOf(operation);
            if (vcpu !== undefined) vcpus.add(vcpu);
            else others.add(name);
            const on = vcpu === undefined ? name : vcpuThread(vcpu);
            return { index: indexOf.get(operation)!, operation, on };
          }),
        }),
      ),
    );
    // What nothing happens in is a phase all the same.
    if (program.length === 0) program.push([]);
    for (const [i, lanes] of program.entries()) steps.push({ phase, endsPhase: i === program.length - 1, lanes });
  }
  const runners = [...vcpus].sort((a, b) => a - b).map(vcpuThread);
  for (const name of runners) others.delete(name);
  return { steps, threads: [...runners, ...others] };
}

/** Whether thread `name` executes anything of `step`. */
export function takesPart(step: ProgramStep, name: string): boolean {
  return step.lanes.some(({ operations }) => operations.some(({ operation, on }) => on === name || isClosing(operation, name)));
}

/** Closing the VM is a matter of the vCPUs' threads as well: each gives its own up. */
const isClosing = ({ op }: Operation, name: string): boolean => op === 'destroy' && isVcpuThread(name);

export const isVcpuThread = (name: string): boolean => /^vcpu\d+$/.test(name);
