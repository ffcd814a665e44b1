/**
 * The VM of a script, in one JavaScript thread: built from what the script says of it, with a handle and a recorder for each
 * thread that it names.
 */
import { COUNTER_SLOTS } from '../machine/counters.ts';
import { PlainMemory } from '../machine/plain-memory.ts';
import { KERNELS, type KernelName } from '../mmu/generation.ts';
import type { Level } from '../mmu/level.ts';
import { ITER_MODES, type IterName, type ParamName } from '../mmu/params.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import { createVm, openVm, type Vm } from '../vm/vm.ts';
import { type MemoryRegionConfig, type VmConfig, vmConfig } from '../vm/vm-config.ts';
import { VmLayout } from '../vm/vm-layout.ts';
import { Disturbances } from '../workloads/programs/script-disturbances.ts';
import { MODULE_PARAMETERS, parameterValue, type ScriptContext } from '../workloads/programs/script-operations.ts';
import { scriptVcpu } from '../workloads/programs/script-vcpu.ts';
import { CODE_MEMORY, PAGE_BYTES } from './check.ts';
import { HOST_PROFILES } from './host-profile.ts';
import type { StatSource } from './record/counters.ts';
import { EventLog, Recorder } from './record/recorder.ts';
import { TRACE_POINTS } from './record/trace-points.ts';
import { IOCTL_THREAD, type Script, SHELL_THREAD, vcpuThread } from './script.ts';
import { ScriptError } from './script-error.ts';
import type { Values } from './vocabulary.ts';

export interface MachineOptions {
  /** The kernel where the script names none. */
  readonly kernel: KernelName;
  /** How walks pass empty entries, instead of what the script says. */
  readonly iter?: IterName | undefined;
  /** Whether each guest entry finds an empty TLB, as on the recorded host. */
  readonly flushOnEntry: boolean;
  /** Whether the scheduler wants the processor of that thread back. */
  readonly needResched?: (thread: string) => boolean;
  /** Whether walks give mmu_lock up to waiters, as preemptible kernels do. */
  readonly needbreak: boolean;
}

/** Memory that the code slot maps: the guest's program is one page. */
const CODE_REGION: MemoryRegionConfig = { name: CODE_MEMORY, type: '4k', pages: 1, populate: true };
/** The slot that holds the guest's code. */
export const CODE_SLOT: Values<'slot'> = { id: 0, gfn: 0, npages: 1, mem: CODE_MEMORY, off: 0, flags: 0, as: 0 };
/** KVM_X86_QUIRK_SLOT_ZAP_ALL, a bit of `disable_quirks`. */
const QUIRK_SLOT_ZAP_ALL = 1 << 7;
/** sizeof(struct kvm_dirty_gfn). */
const DIRTY_GFN_BYTES = 16;

const DEFAULT_VM: Values<'vm'> = {
  vcpus: 1,
  manual: 0,
  dirty_ring: 0,
  disable_quirks: 0,
  kernel: undefined,
  cpu: 'npt',
  ad: 1,
  entries: 512,
  levels: 4,
  lock: 'rwlock',
  iter: 'plain',
  code: 1,
  pages: undefined,
};

/** A thread of the script: its handle on the VM and what listens to it. */
export interface MachineThread {
  readonly vm: Vm;
  readonly recorder: Recorder;
  readonly counters: Float64Array;
  readonly disturbances: Disturbances;
}

export class ScriptMachine {
  readonly memory: PlainMemory;
  readonly config: VmConfig;
  readonly layout: VmLayout;
  readonly log: EventLog;
  readonly threads: ReadonlyMap<string, MachineThread>;
  readonly vcpus: readonly Vcpu[];
  readonly codeSlot: boolean;
  readonly #regionsByAddress: readonly string[];
  readonly #reclaimWalksTables: boolean;

  /** Errors: ScriptError, for a VM that cannot be made. */
  constructor(script: Script, options: MachineOptions) {
    const vm = vmOf(script);
    const names = threadNames(script, vm.vcpus);
    this.config = configOf(script, vm, names.length, options);
    const { arenaWords } = new VmLayout(this.config);
    this.memory = new PlainMemory(allocate(script, arenaWords));
    this.layout = createVm(this.memory, this.config);
    this.codeSlot = vm.code !== 0;
    const { kernel } = this.config;
    const { needResched } = options;
    this.log = new EventLog(TRACE_POINTS[kernel]);
    const threads = new Map<string, MachineThread>();
    for (const [threadId, name] of names.entries()) {
      const recorder = new Recorder(this.log, name);
      const counters = new Float64Array(COUNTER_SLOTS);
      const disturbances = new Disturbances();
      const host = {
        memory: this.memory,
        now: () => 0,
        needResched: () => needResched?.(name) ?? false,
        counters,
        probe: recorder,
      };
      const environment = { ...host, ...disturbances.over(host) };
      const handle = openVm({ layout: this.layout, threadId, threadName: name, environment, trace: recorder });
      this.log.geometry = handle.kvm.geometry;
      threads.set(name, { vm: handle, recorder, counters, disturbances });
    }
    this.threads = threads;
    const { flushOnEntry } = options;
    this.vcpus = Array.from({ length: vm.vcpus }, (_, id) =>
      scriptVcpu(threads.get(vcpuThread(id))!.vm, { id, code: this.codeSlot, flushOnEntry }),
    );
    this.#regionsByAddress = regionsByAddress(this.config.memory);
    this.#reclaimWalksTables = HOST_PROFILES[kernel].reclaimWalksTables;
  }

  thread(name: string): MachineThread {
    return this.threads.get(name)!;
  }

  /** Where the VM's statistics are. */
  get statSource(): StatSource {
    return {
      kvm: this.thread(IOCTL_THREAD).vm.kvm,
      counters: [...this.threads.values()].map(({ counters }) => counters),
      vcpus: this.vcpus.map(({ id }) => this.thread(vcpuThread(id)).counters),
    };
  }

  /** What operations of thread `name` run with. */
  context(name: string): ScriptContext {
    return {
      vm: this.thread(name).vm,
      vcpu: (id) => this.vcpus[id],
      regionsByAddress: this.#regionsByAddress,
      reclaimWalksTables: this.#reclaimWalksTables,
      disturb: (what, every) => {
        this.thread(name).disturbances.set(what, every);
      },
    };
  }
}

/** Errors: ScriptError where this machine has not so much memory. */
function allocate(script: Script, words: number): Int32Array<SharedArrayBuffer> {
  try {
    return new Int32Array(new SharedArrayBuffer(4 * words));
  } catch {
    const message = `the VM takes ${(words / 2 ** 28).toFixed(1)} GiB to model, which this machine does not have`;
    throw new ScriptError({ file: script.file, line: vmLine(script), message });
  }
}

export function vmOf(script: Script): Values<'vm'> {
  for (const { operations } of script.phases) {
    for (const operation of operations) if (operation.op === 'vm') return operation.values;
  }
  return DEFAULT_VM;
}

/** The vCPUs, user space, the shell, and whatever the script names. */
function threadNames(script: Script, vcpus: number): readonly string[] {
  const names = new Set(Array.from({ length: vcpus }, (_, id) => vcpuThread(id)));
  names.add(IOCTL_THREAD);
  names.add(SHELL_THREAD);
  for (const { steps } of script.phases) for (const { threads } of steps) for (const { name } of threads) names.add(name);
  return [...names];
}

export function configOf(script: Script, vm: Values<'vm'>, threads: number, options: MachineOptions): VmConfig {
  const kernel = vm.kernel ?? options.kernel;
  const memory: MemoryRegionConfig[] = vm.code !== 0 ? [CODE_REGION] : [];
  const params: Partial<Record<ParamName, number>> = {
    manualProtect: vm.manual,
    dirtyRingSize: vm.dirty_ring / DIRTY_GFN_BYTES,
    slotZapAll: (vm.disable_quirks & QUIRK_SLOT_ZAP_ALL) !== 0 ? 0 : 1,
    iterMode: ITER_MODES[options.iter ?? vm.iter],
    needbreak: options.needbreak ? 1 : 0,
  };
  let began = false;
  for (const { operations } of script.phases) {
    for (const operation of operations) {
      if (operation.op === 'vm') began = true;
      if (operation.op === 'mem') {
        const { mem, type, size, populate } = operation.values;
        memory.push({ name: mem, type, pages: size / PAGE_BYTES, populate: populate !== 0 });
      }
      if (operation.op === 'param') {
        const { name, value } = moduleParameter(script.file, operation.line, operation.values);
        if (!began) params[name] = value;
      }
    }
  }
  const pages = memory.reduce((sum, region) => sum + region.pages, 0);
  const fail = (message: string): never => {
    throw new ScriptError({ file: script.file, line: vmLine(script), message });
  };
  let config: VmConfig;
  try {
    config = vmConfig({
      vcpus: vm.vcpus,
      threads,
      kernel,
      cpu: vm.cpu,
      lock: vm.lock,
      entries: vm.entries,
      rootLevel: vm.levels as Level,
      maxGfn: vm.entries ** vm.levels,
      adBits: vm.ad !== 0,
      dirtyRingEntries: vm.dirty_ring / DIRTY_GFN_BYTES,
      tablePages: vm.pages ?? tablePagesFor(vm, pages),
      memory,
      params,
    });
  } catch (error) {
    return fail((error as Error).message);
  }
  const { arenaWords } = new VmLayout(config);
  if (arenaWords > ARENA_WORDS_MAX) fail(`the VM takes ${Math.ceil(arenaWords / 2 ** 28)} GiB to model, 8 GiB are the most`);
  return config;
}

/** Addresses are 32-bit integers. */
const ARENA_WORDS_MAX = 2 ** 31 - 2 ** 20;

function vmLine(script: Script): number {
  const operations = script.phases.flatMap((phase) => phase.operations);
  return operations.find(({ op }) => op === 'vm')?.line ?? 0;
}

/** Enough tables for all memory at 4K, three times over: old ones wait for a grace period while new ones are made. */
function tablePagesFor(vm: Values<'vm'>, pages: number): number {
  const tables = Math.ceil(pages / vm.entries) * (1 + 2 / vm.entries);
  return Math.ceil(3 * tables) + 64 * (vm.vcpus + 2);
}

/** A module parameter by the file that it is written to. Errors: ScriptError. */
export function moduleParameter(
  file: string,
  line: number,
  { path, value }: Values<'param'>,
): { readonly name: ParamName; readonly value: number } {
  const name = MODULE_PARAMETERS[path.slice(path.lastIndexOf('/') + 1)];
  if (name === undefined) {
    throw new ScriptError({ file, line, message: `param: unknown '${path}'`, allowed: Object.keys(MODULE_PARAMETERS) });
  }
  const number = parameterValue(name, value);
  if (number === undefined) {
    const allowed = name === 'nxHugePagesRecoveryRatio' ? ['a number'] : ['Y', 'N', '1', '0', 'force', 'off', 'auto'];
    throw new ScriptError({ file, line, message: `param: ${path} cannot be '${value}'`, allowed });
  }
  return { name, value: number };
}

/**
 * The order of the regions in the process's address space: anonymous memory is mapped downwards from where the one before
 * lies; hugetlbfs mappings and the guest's code lie above.
 */
export function regionsByAddress(memory: readonly MemoryRegionConfig[]): readonly string[] {
  const hugetlb = memory.filter(({ type }) => type === '2m' || type === '1g');
  const code = memory.filter(({ name }) => name === CODE_MEMORY);
  const anonymous = memory.filter((region) => !code.includes(region) && !hugetlb.includes(region));
  return [...anonymous.reverse(), ...hugetlb, ...code].map(({ name }) => name);
}

export const isKernelName = (name: string): name is KernelName => Object.hasOwn(KERNELS, name);
