/**
 * The VM of a scenario, in an arena that the explorer owns: a handle for each thread, made once, and put back before every
 * execution instead of being made again.
 */
import { wholeSteps } from '../engines/explore/access.ts';
import { COUNTER_SLOTS } from '../machine/counters.ts';
import type { Memory } from '../machine/memory.ts';
import { runToEnd } from '../machine/run.ts';
import { type BugSwitches, NO_BUGS } from '../mmu/bug-switches.ts';
import { DEFAULT_KERNEL, KERNELS } from '../mmu/generation.ts';
import type { ThreadReports } from '../oracles/step-reports.ts';
import { StepWorld } from '../oracles/step-world.ts';
import { stepOracles } from '../oracles/steps/index.ts';
import { configOf, vmOf } from '../script/machine.ts';
import { IOCTL_THREAD, type ScriptStep, SHELL_THREAD, threadOf, vcpuThread } from '../script/script.ts';
import { Vcpu } from '../vm/vcpu.ts';
import { VcpuArea } from '../vm/vcpu-layout.ts';
import { restoreVcpu, saveVcpu, type VcpuState } from '../vm/vcpu-state.ts';
import { createVm, openVm, type Vm, type VmState } from '../vm/vm.ts';
import { type VmConfig, vmConfig } from '../vm/vm-config.ts';
import { VmLayout } from '../vm/vm-layout.ts';
import { runOperation, type ScriptContext } from '../workloads/programs/script-operations.ts';
import { GhostLog } from './ghost-log.ts';
import type { Scenario } from './scenario.ts';

/** The thread that frees page-table pages after their grace period. */
export const RCU_THREAD = 'rcu';

/** The worker that zaps roots, in the kernels that have one. */
export const ZAP_THREAD = 'zap-worker';

/** What is made small, so that executions are short and memory is soon used again. */
const SMALL: Partial<VmConfig> = {
  tlbEntries: 8,
  pwcEntries: 2,
  pmlEntries: 4,
  maxMemslots: 4,
  hostPageTableLocks: 2,
  frameGenerations: 3,
  trackContents: true,
};

/** How a thread is disturbed: every n-th look at need_resched, every n-th allocation; 0: never. */
interface Disturbance {
  resched: number;
  allocfail: number;
  looks: number;
  allocations: number;
  /** The scheduler asked, and the thread has not yielded yet: it goes on asking. */
  asked: boolean;
}

export interface ScenarioThread {
  readonly name: string;
  readonly vm: Vm;
  readonly counters: Float64Array;
  readonly watch: ThreadReports;
  readonly disturbance: Disturbance;
}

/** What is put back before each execution, for one thread. */
interface SavedThread {
  readonly vm: VmState;
  readonly counters: Float64Array;
  readonly disturbance: Disturbance;
}

export interface MachineOptions {
  readonly bugs?: BugSwitches;
  /** Whether locks, grace periods and requests are one step each. */
  readonly whole?: boolean;
}

export class ScenarioMachine {
  readonly scenario: Scenario;
  readonly config: VmConfig;
  readonly threads: ReadonlyMap<string, ScenarioThread>;
  readonly vcpus: readonly Vcpu[];
  readonly watch: StepWorld;
  readonly ghost = new GhostLog();
  readonly memory: Memory;
  #saved: readonly SavedThread[] = [];
  #savedVcpus: readonly VcpuState[] = [];
  readonly #contexts: ReadonlyMap<string, ScriptContext>;

  /** Words of the arena that the scenario needs. */
  static words(scenario: Scenario): number {
    return new VmLayout(scenarioConfig(scenario)).arenaWords;
  }

  /** Makes the VM in `memory`, all 0, and runs the steps before the explored one. */
  constructor(scenario: Scenario, memory: Memory, { bugs = NO_BUGS, whole = true }: MachineOptions = {}) {
    this.scenario = scenario;
    this.memory = memory;
    this.config = scenarioConfig(scenario);
    const layout = createVm(memory, this.config);
    const names = threadNames(scenario);
    // A handle for the oracles to look through: nobody runs by it.
    const environment = {
      memory,
      now: () => 0,
      needResched: () => false,
      counters: new Float64Array(COUNTER_SLOTS),
      probe: null,
    };
    const onlooker = openVm({ layout, threadId: 0, environment });
    const cpus = new Map(Array.from({ length: this.config.vcpus }, (_, id) => [vcpuThread(id), id]));
    const vcpuOf = (id: number): number => cpus.get(names[id]) ?? -1;
    this.watch = new StepWorld({ vm: onlooker, oracles: stepOracles(), threads: names, vcpuOf });
    const threads = new Map<string, ScenarioThread>();
    for (const [id, name] of names.entries()) threads.set(name, this.#open(layout, id, name, { bugs, whole }));
    this.threads = threads;
    this.vcpus = Array.from({ length: this.config.vcpus }, (_, id) => {
      const { vm, watch } = threads.get(vcpuThread(id))!;
      const area = new VcpuArea(vm.vcpuArea(id), this.config);
      const vcpu = new Vcpu({ kvm: vm.kvm, id, area, contentWord: vm.contentWord, observer: this.watch, awaitRetries: true });
      watch.thread.cpu = vcpu;
      return vcpu;
    });
    this.watch.vcpus = this.vcpus;
    this.#contexts = new Map(names.map((name) => [name, this.#context(name)]));
    for (const step of scenario.setup) this.runAlone(step);
    this.#save();
  }

  #open(layout: VmLayout, threadId: number, threadName: string, { bugs, whole }: Required<MachineOptions>): ScenarioThread {
    const watch = this.watch.reportsOf(threadId);
    const counters = new Float64Array(COUNTER_SLOTS);
    const disturbance: Disturbance = { resched: 0, allocfail: 0, looks: 0, allocations: 0, asked: false };
    const environment = {
      memory: this.memory,
      now: () => 0,
      needResched: () => wantsProcessor(disturbance),
      failAllocation: () => disturbance.allocfail > 0 && ++disturbance.allocations % disturbance.allocfail === 0,
      counters,
      probe: watch,
      ...(whole ? { whole: wholeSteps } : {}),
    };
    const vm = openVm({ layout, threadId, threadName, environment, trace: watch, bugs });
    watch.thread.vm = vm;
    watch.onYield = () => {
      disturbance.asked = false;
    };
    vm.host.onPageDirty = (pfn) => watch.hostPageDirtied(pfn);
    return { name: threadName, vm, counters, watch, disturbance };
  }

  #context(name: string): ScriptContext {
    const { vm, disturbance } = this.thread(name);
    return {
      vm,
      vcpu: (id) => this.vcpus[id],
      regionsByAddress: this.config.memory.map((region) => region.name),
      reclaimWalksTables: true,
      disturb: (what, every) => {
        disturbance[what] = every;
      },
    };
  }

  thread(name: string): ScenarioThread {
    return this.threads.get(name)!;
  }

  context(name: string): ScriptContext {
    return this.#contexts.get(name)!;
  }

  /** The handle of a thread that is always there. */
  get vm(): Vm {
    return this.thread(IOCTL_THREAD).vm;
  }

  /** Runs a step of one thread while nobody else runs, and returns what its operations said. */
  runAlone(step: ScriptStep): string[] {
    const said: string[] = [];
    for (const { operations } of step.threads) {
      for (const operation of operations) {
        if (operation.op === 'vm' || operation.op === 'mem' || operation.op === 'sys') continue;
        const context = this.context(threadOf(operation));
        said.push(runToEnd(this.memory, runOperation(context, operation)));
        this.ghost.after(this, operation, said.at(-1)!);
      }
    }
    return said;
  }

  #save(): void {
    this.ghost.save();
    this.#saved = [...this.threads.values()].map(({ vm, counters, disturbance }) => ({
      vm: vm.saveState(),
      counters: counters.slice(),
      disturbance: { ...disturbance },
    }));
    this.#savedVcpus = this.vcpus.map(saveVcpu);
  }

  /** Puts everything beside the arena back to where the explored step begins. */
  restore(): void {
    let i = 0;
    for (const { vm, counters, disturbance } of this.threads.values()) {
      const saved = this.#saved[i++];
      vm.restoreState(saved.vm);
      counters.set(saved.counters);
      disturbance.resched = saved.disturbance.resched;
      disturbance.allocfail = saved.disturbance.allocfail;
      disturbance.looks = saved.disturbance.looks;
      disturbance.asked = saved.disturbance.asked;
      disturbance.allocations = saved.disturbance.allocations;
    }
    for (let v = 0; v < this.vcpus.length; v++) restoreVcpu(this.vcpus[v], this.#savedVcpus[v]);
    this.ghost.restore();
    this.watch.start();
  }
}

/** need_resched(): set at every n-th look, and set until the thread yields. */
function wantsProcessor(disturbance: Disturbance): boolean {
  if (disturbance.resched > 0 && ++disturbance.looks % disturbance.resched === 0) disturbance.asked = true;
  return disturbance.asked;
}

/** User space, the vCPUs, whoever else the script names, and the RCU worker; the shell where it is used. */
function threadNames(scenario: Scenario): readonly string[] {
  const { script, explored } = scenario;
  const names = new Set([IOCTL_THREAD]);
  for (let id = 0; id < vmOf(script).vcpus; id++) names.add(vcpuThread(id));
  for (const { name } of explored.threads) names.add(name);
  const operations = script.phases.flatMap((phase) => phase.operations);
  if (operations.some((operation) => threadOf(operation) === SHELL_THREAD)) names.add(SHELL_THREAD);
  names.add(RCU_THREAD);
  if (hasZapWorker(scenario)) names.add(ZAP_THREAD);
  return [...names];
}

/** Whether the kernel of the scenario zaps roots by a worker. */
export function hasZapWorker({ script }: Scenario): boolean {
  return KERNELS[vmOf(script).kernel ?? DEFAULT_KERNEL].rootZapBy === 'worker';
}

/** The VM that the script describes, with everything small that the script says nothing about. */
export function scenarioConfig(scenario: Scenario): VmConfig {
  const { script } = scenario;
  const vm = vmOf(script);
  const threads = threadNames(scenario).length;
  const host = { kernel: DEFAULT_KERNEL, flushOnEntry: false, needbreak: true };
  const asked = configOf(script, { ...vm, pages: vm.pages ?? 48 }, threads, host);
  // One more than a fault may need, so that a cache that was filled once lasts for a few faults.
  // The last gfn is in the middle of what upper entries map: physical addresses end where they will.
  const maxGfn = vm.entries ** vm.levels - 2 * vm.entries;
  const zapWorker = hasZapWorker(scenario);
  return vmConfig({ ...asked, ...SMALL, maxGfn, zapWorker, pageCache: vm.levels + 4 });
}
