/**
 * A script: phases, each a sequence of steps. A step runs one operation, or several threads side by side.
 */
import type { Operation } from './vocabulary.ts';

/** The thread that an operation runs on where no other is named: as recordings name it. */
export const IOCTL_THREAD = 'ioctl';
/** The thread of host commands. */
export const SHELL_THREAD = 'sh';
export const vcpuThread = (vcpu: number): string => `vcpu${vcpu}`;

/** Operations that one thread runs one after the other. */
export interface ScriptThread {
  readonly name: string;
  readonly line: number;
  readonly operations: readonly Operation[];
}

/** Threads that run side by side; the step is over when all of them are. */
export interface ScriptStep {
  readonly line: number;
  readonly threads: readonly ScriptThread[];
}

export interface ScriptPhase {
  /** What is done, in words. */
  readonly words: string;
  readonly line: number;
  /** All operations in the order of the text; the results of a run are in the same order. */
  readonly operations: readonly Operation[];
  readonly steps: readonly ScriptStep[];
}

export interface Script {
  readonly file: string;
  readonly phases: readonly ScriptPhase[];
}

/** The thread that runs `operation` where no thread is named. */
export function threadOf(operation: Operation): string {
  switch (operation.op) {
    case 'touch':
    case 'atouch':
    case 'role':
      return vcpuThread(operation.values.vcpu);
    case 'shell':
    case 'age':
      return SHELL_THREAD;
    default:
      return IOCTL_THREAD;
  }
}

type VcpuOperation = Extract<Operation, { op: 'touch' | 'atouch' | 'prefault' | 'role' }>;
const VCPU_OPERATIONS: readonly string[] = ['touch', 'atouch', 'prefault', 'role'];

/** The vCPU that `operation` runs, or undefined. Two threads cannot run one vCPU at a time. */
export function vcpuOf(operation: Operation): number | undefined {
  const uses = VCPU_OPERATIONS.includes(operation.op);
  return uses ? (operation as VcpuOperation).values.vcpu : undefined;
}
