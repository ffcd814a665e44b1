/** A whole VM over plain memory for tests of oracles: vCPUs, ioctls and the host, run alone or in seeded turns. */
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import type { Memory } from '../../src/machine/memory.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { type Address, own, type Task } from '../../src/machine/point.ts';
import { type Pick, runToEnd, runTogether, seededPick } from '../../src/machine/run.ts';
import type { ThreadEnvironment } from '../../src/machine/thread.ts';
import type { Word64 } from '../../src/machine/word64.ts';
import type { BugSwitches } from '../../src/mmu/bug-switches.ts';
import { asGfn, type Level } from '../../src/mmu/level.ts';
import { isLastSpte, isShadowPresent, spteToChildPage } from '../../src/mmu/spte.ts';
import { checkVm } from '../../src/oracles/index.ts';
import type { Violation } from '../../src/oracles/oracle.ts';
import type { StateOptions } from '../../src/oracles/quiescent-state.ts';
import { StepDriver } from '../../src/oracles/step-driver.ts';
import type { StepOracle } from '../../src/oracles/step-oracle.ts';
import { StepWorld } from '../../src/oracles/step-world.ts';
import { guestAccess } from '../../src/vm/guest.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { setUserMemoryRegion, type UserMemoryRegion } from '../../src/vm/set-memory-region.ts';
import { Vcpu } from '../../src/vm/vcpu.ts';
import { VcpuArea } from '../../src/vm/vcpu-layout.ts';
import { vcpuLeaveGuest } from '../../src/vm/vcpu-run.ts';
import { createVm, openVm, type Vm } from '../../src/vm/vm.ts';
import { type VmConfig, vmConfig } from '../../src/vm/vm-config.ts';
import { VmLayout } from '../../src/vm/vm-layout.ts';

export interface VmMachineOptions {
  readonly config?: Partial<VmConfig>;
  readonly bugs?: BugSwitches;
  readonly slots?: readonly UserMemoryRegion[];
  /** Step oracles to watch what runs together. */
  readonly watch?: readonly StepOracle[];
  /** The arena to build in, where it is not the machine's own. */
  readonly memory?: VmMachine['memory'];
  readonly needResched?: (thread: number) => boolean;
}

/** Four entries a table: 2M is 4 pages, 1G is 16, a root maps 256. */
export const SMALL: Partial<VmConfig> = {
  vcpus: 2,
  threads: 5,
  entries: 4,
  maxGfn: 256,
  tablePages: 96,
  tlbEntries: 64,
  pwcEntries: 4,
  pmlEntries: 8,
  hostPageTableLocks: 2,
  trackContents: true,
  memory: [{ name: 'ram', type: 'thp', pages: 64, populate: true }],
};

/** Steps after which a run counts as one without progress. */
const MAX_STEPS = 30_000;

export const RAM: UserMemoryRegion = { slot: 0, baseGfn: 0, pages: 64, region: 0 };

/** Seeded turns in which a task keeps the processor for some steps: so that one of them can be late by a whole operation. */
function burstyPick(seed: number): Pick {
  const random = seededPick(seed);
  const dice = Array.from({ length: 64 }, (_, i) => i);
  let last = -1;
  return (runnable) => {
    const at = runnable.indexOf(last);
    if (at >= 0 && random(dice) > 1 + (seed % 4)) return at;
    const index = random(runnable);
    last = runnable[index];
    return index;
  };
}

export class VmMachine {
  readonly memory: Memory & { readonly words: Int32Array<SharedArrayBuffer> };
  readonly config: VmConfig;
  readonly layout: VmLayout;
  /** A handle a thread; the first ones are the vCPUs'. */
  readonly vms: Vm[] = [];
  readonly vcpus: Vcpu[] = [];
  readonly world: StepWorld | null;

  constructor(options: VmMachineOptions = {}) {
    this.config = vmConfig({ ...SMALL, ...options.config });
    const { config } = this;
    const words = new VmLayout(config).arenaWords;
    this.memory = options.memory ?? new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * words)));
    this.layout = createVm(this.memory, config);
    const nameOf = (id: number): string => (id < config.vcpus ? `vcpu ${id}` : `thread ${id}`);
    const environmentOf = (id: number, probe: ThreadEnvironment['probe']): ThreadEnvironment => ({
      memory: this.memory,
      now: () => 0,
      needResched: () => options.needResched?.(id) ?? false,
      counters: new Float64Array(COUNTER_SLOTS),
      probe,
    });
    // A handle to look through: nobody runs by it.
    const onlooker = openVm({ layout: this.layout, threadId: 0, environment: environmentOf(0, null), trace: null });
    const threads = Array.from({ length: config.threads }, (_, id) => nameOf(id));
    const { watch } = options;
    this.world = watch === undefined ? null : new StepWorld({ vm: onlooker, oracles: watch, threads });
    for (let id = 0; id < config.threads; id++) {
      const reports = this.world?.reportsOf(id) ?? null;
      const environment = environmentOf(id, reports);
      const threadName = nameOf(id);
      const vm = openVm({ layout: this.layout, threadId: id, threadName, environment, trace: reports, bugs: options.bugs });
      if (reports !== null) {
        reports.thread.vm = vm;
        vm.host.onPageDirty = (pfn) => reports.hostPageDirtied(pfn);
      }
      this.vms.push(vm);
    }
    for (let id = 0; id < config.vcpus; id++) {
      const vm = this.vms[id];
      const area = new VcpuArea(vm.vcpuArea(id), config);
      const vcpu = new Vcpu({ kvm: vm.kvm, id, area, contentWord: vm.contentWord, observer: this.world });
      if (this.world !== null) this.world.threads[id].cpu = vcpu;
      this.vcpus.push(vcpu);
    }
    if (this.world !== null) this.world.vcpus = this.vcpus;
    for (const slot of options.slots ?? [RAM]) this.run(setUserMemoryRegion(this.ioctl, slot));
  }

  /** The handle of the first thread that runs no vCPU. */
  get ioctl(): Vm {
    return this.vms[this.config.vcpus];
  }

  /** Those of the others. */
  get host(): Vm {
    return this.vms[this.config.vcpus + 1];
  }

  get other(): Vm {
    return this.vms[this.config.vcpus + 2];
  }

  run<T>(task: Task<T>): T {
    return runToEnd(this.memory, task);
  }

  /** Runs the tasks in turns that follow from `seed`; thread `threads[i]` runs task i. */
  together(seed: number, ...tasks: Task<unknown>[]): void {
    runTogether<unknown>(this.memory, tasks, seededPick(seed), { maxSteps: MAX_STEPS });
  }

  /** As `together`, under the eyes of the step oracles: each task with the number of its thread. */
  watched(seed: number, ...tasks: (readonly [thread: number, task: Task<unknown>])[]): void {
    const world = this.world as StepWorld;
    const driver = new StepDriver(
      world,
      tasks.map(([thread]) => thread),
    );
    world.prepare();
    world.start();
    const run = tasks.map(([, task]) => task);
    try {
      runTogether<unknown>(this.memory, run, burstyPick(seed), { maxSteps: MAX_STEPS, onStep: driver.onStep });
      driver.finish();
    } finally {
      world.on = false;
    }
  }

  /** The guest of vCPU `id` accesses `gfns`, and leaves the guest afterwards. */
  *guest(id: number, gfns: readonly number[], kind: AccessKind = AccessKind.write): Task<void> {
    const vcpu = this.vcpus[id];
    for (const gfn of gfns) yield* guestAccess(vcpu, asGfn(gfn), kind);
    if (vcpu.inGuest) yield* vcpuLeaveGuest(vcpu);
  }

  /** All violations that the state oracles find, with what the threads have in hand. */
  violations(options: StateOptions = {}): Violation[] {
    const vcpuRoots = (id: number): number[] => [this.vcpus[id].mmu.root, ...this.vcpus[id].mmu.prevRoots];
    const cachedPages = this.vcpus.flatMap((vcpu) => vcpu.mmu.pageCache.pages);
    const counter = (index: number): number => this.vms.reduce((sum, vm) => sum + vm.thread.counters[index], 0);
    const reports = checkVm(this.ioctl, { vcpuRoots, cachedPages, counter, ...options });
    return reports.flatMap((report) => [...report.violations]);
  }

  /** The rules that are broken, as `oracle/rule`, each once. */
  broken(options: StateOptions = {}): string[] {
    return [...new Set(this.violations(options).map(({ oracle, rule }) => `${oracle}/${rule}`))];
  }

  /** Address of the SPTE at `level` that maps `gfn` below `root`. */
  sptep(gfn: number, level: Level = 1, root: number = this.vcpus[0].mmu.root): Address {
    const { geometry, pages } = this.ioctl.kvm;
    let page = root;
    for (let at = geometry.rootLevel; ; at--) {
      const sptep = pages.sptep(page, geometry.index(asGfn(gfn), at));
      if (at === level) return sptep;
      const spte = this.memory.load64(own(sptep));
      if (!isShadowPresent(spte) || isLastSpte(spte, at)) throw new RangeError(`no table for gfn ${gfn} at level ${at}`);
      page = spteToChildPage(spte);
    }
  }

  spte(gfn: number, level: Level = 1): Word64 {
    return this.memory.load64(own(this.sptep(gfn, level)));
  }

  /** Corrupts the SPTE. */
  poke(gfn: number, level: Level, change: (spte: Word64) => Word64): void {
    const sptep = this.sptep(gfn, level);
    this.memory.store64(own(sptep), change(this.memory.load64(own(sptep))));
  }
}
