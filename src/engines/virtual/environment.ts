/**
 * What a task of the virtual engine is told about its machine: the virtual time, and whether the scheduler wants the CPU.
 */
import type { Probe } from '../../machine/probe.ts';
import type { ThreadEnvironment } from '../../machine/thread.ts';
import { LockBlame } from './lock-blame.ts';
import { PS_PER_NS } from './price-list.ts';
import type { MachineProfile } from './profile.ts';
import type { VirtualMemory } from './virtual-memory.ts';
import type { Works } from './works.ts';

/** Makes the listener of a task; `now` is the task's clock in nanoseconds. */
export type MakeProbe = (now: () => number) => Probe;

export class VirtualEnvironment implements ThreadEnvironment {
  readonly memory: VirtualMemory;
  readonly counters: Float64Array;
  readonly probe: Probe;
  readonly #task: number;
  readonly #works: Works;
  readonly #rule: MachineProfile['scheduler']['resched'];

  constructor(
    task: number,
    works: Works,
    rule: MachineProfile['scheduler']['resched'],
    counters: Float64Array,
    probe: MakeProbe | null,
  ) {
    this.memory = works.memory;
    this.counters = counters;
    this.#task = task;
    this.#works = works;
    this.#rule = rule;
    this.probe = new LockBlame(probe === null ? null : probe(() => this.now()), task, works.tasks.blamed, works.lockColumns);
  }

  now(): number {
    return this.#works.tasks.time[this.#task] / PS_PER_NS;
  }

  needResched(): boolean {
    if (this.#rule === 'never') return false;
    const { tasks, clock, cpus } = this.#works;
    const time = tasks.time[this.#task];
    if (time < clock.nextTick[this.#task]) return false;
    if (this.#rule === 'tick') return true;
    const cpu = tasks.cpu[this.#task];
    return cpus.hasWaiters(cpu) && time >= cpus.sliceEnd[cpu];
  }
}
