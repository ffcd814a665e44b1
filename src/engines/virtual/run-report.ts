/**
 * What a run leaves behind: each task's time by cause, and, where nobody could go on, who waits for what.
 */
import { CAUSE_NAMES, Cause } from './causes.ts';
import type { LabelMap } from './labels.ts';
import { PS_PER_NS } from './price-list.ts';
import { TaskState, type TaskTable } from './task-table.ts';
import type { VirtualMemory } from './virtual-memory.ts';
import type { Works } from './works.ts';

export interface TaskReport {
  readonly name: string;
  readonly cpu: number;
  readonly done: boolean;
  /** What the coroutine returned. */
  readonly value: unknown;
  readonly startNs: number;
  /** When it ended, or how far it has come. */
  readonly endNs: number;
  readonly steps: number;
  /**
   * Where the time went: costs by their names, the causes of `causes.ts`, `waiting:LABEL`. What is in progress is counted
   * when it is over, so that the sum is `endNs - startNs` for a task that is done.
   */
  readonly byCauseNs: Readonly<Record<string, number>>;
  /** The longest stretch at no point of which the scheduler could have had the CPU, and when it ended. */
  readonly stretchMaxNs: number;
  readonly stretchEndNs: number;
  /** The longest time that a tick's wish for the CPU went unheeded. */
  readonly reschedLateMaxNs: number;
}

/** A task that cannot go on. */
export interface BlockedTask {
  readonly name: string;
  readonly cpu: number;
  readonly state: 'spinning' | 'sleeping' | 'runnable';
  /** The word that it waits for, its label, and what it holds; absent where the task waits for its CPU. */
  readonly address?: number;
  readonly label?: string;
  readonly value?: number;
  /** The value that the word must lose, where the task waits for that. */
  readonly expected?: number;
  readonly sinceNs: number;
  /** One line for a report. */
  readonly text: string;
}

const STATE_NAMES = {
  [TaskState.spinning]: 'spinning',
  [TaskState.sleeping]: 'sleeping',
  [TaskState.runnable]: 'runnable',
} as const;

function namedCauses(row: Float64Array, labels: LabelMap): Record<string, number> {
  const named: Record<string, number> = {};
  row.forEach((ps, column) => {
    if (ps === 0) return;
    const name = column < Cause.waiting ? CAUSE_NAMES[column] : `waiting:${labels.names[column - Cause.waiting]}`;
    named[name] = ps / PS_PER_NS;
  });
  return named;
}

/** Nanoseconds by cause, over all tasks; causes without any are left out. */
export function totalsByCause({ tasks, accounts, stride, labels }: Works): Record<string, number> {
  const sums = new Float64Array(stride);
  for (let i = 0; i < tasks.count * stride; i++) sums[i % stride] += accounts[i];
  return namedCauses(sums, labels);
}

export function taskReport(task: number, works: Works): TaskReport {
  const { tasks, accounts, stride, clock } = works;
  const byCauseNs = namedCauses(accounts.subarray(task * stride, (task + 1) * stride), works.labels);
  return {
    name: tasks.names[task],
    cpu: tasks.cpu[task],
    done: tasks.state[task] === TaskState.done,
    value: tasks.values[task],
    startNs: tasks.start[task] / PS_PER_NS,
    endNs: tasks.time[task] / PS_PER_NS,
    steps: tasks.steps[task],
    byCauseNs,
    stretchMaxNs: clock.stretchMax[task] / PS_PER_NS,
    stretchEndNs: clock.stretchEnd[task] / PS_PER_NS,
    reschedLateMaxNs: clock.lateMax[task] / PS_PER_NS,
  };
}

/** Every task that has not ended, when nobody can go on. */
export function blockedTasks(tasks: TaskTable, labels: LabelMap, memory: VirtualMemory): BlockedTask[] {
  const blocked: BlockedTask[] = [];
  for (let task = 0; task < tasks.count; task++) {
    const state = tasks.state[task];
    if (state === TaskState.done || state === TaskState.running) continue;
    const name = tasks.names[task];
    const cpu = tasks.cpu[task];
    const sinceNs = tasks.since[task] / PS_PER_NS;
    const stateName = STATE_NAMES[state as keyof typeof STATE_NAMES];
    if (state === TaskState.runnable) {
      const text = `${name} is runnable since ${sinceNs} ns, but CPU ${cpu} is taken by a spinning task`;
      blocked.push({ name, cpu, state: stateName, sinceNs, text });
      continue;
    }
    const address = tasks.word[task];
    const label = labels.names[tasks.column[task] - Cause.waiting];
    const value = memory.words[address];
    const expected = state === TaskState.spinning && tasks.relaxing[task] === 1 ? undefined : tasks.expected[task];
    const text = `${name} is ${stateName} since ${sinceNs} ns until word ${address} (${label}) is no longer ${expected ?? value}`;
    blocked.push({ name, cpu, state: stateName, address, label, value, expected, sinceNs, text });
  }
  return blocked;
}
