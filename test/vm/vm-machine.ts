/** A whole VM for tests: host memory, memslots, vCPUs, and a listener that writes down what it does. */
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import { lockName } from '../../src/machine/lock-number.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { own, type Task } from '../../src/machine/point.ts';
import { LockMode, type Probe } from '../../src/machine/probe.ts';
import { type Pick, runToEnd, runTogether, type TogetherOptions } from '../../src/machine/run.ts';
import type { BugSwitches } from '../../src/mmu/bug-switches.ts';
import { asGfn, type Gfn } from '../../src/mmu/level.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { isTableLo, type Spte, spteToChildPage } from '../../src/mmu/spte.ts';
import type { MmuTrace } from '../../src/mmu/trace.ts';
import { touchPages } from '../../src/vm/guest-programs.ts';
import { setUserMemoryRegion } from '../../src/vm/ioctl.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { type GuestObserver, GuestResult, Vcpu } from '../../src/vm/vcpu.ts';
import { VcpuArea } from '../../src/vm/vcpu-layout.ts';
import { createVm, openVm, type Vm } from '../../src/vm/vm.ts';
import { type VmConfig, vmConfig } from '../../src/vm/vm-config.ts';
import { VmLayout } from '../../src/vm/vm-layout.ts';

/** Where the tests put slot 1. */
export const BASE = 0x10000;

export interface VmMachineOptions {
  readonly config?: Partial<VmConfig>;
  readonly bugs?: BugSwitches;
  readonly observer?: GuestObserver;
}

/** One VM with a thread for each vCPU, and `ioctl` and `host` threads after them. */
export class VmMachine {
  readonly memory: PlainMemory;
  readonly layout: VmLayout;
  readonly vcpus: readonly Vcpu[];
  readonly vms: readonly Vm[];
  /** What the listener heard, of all threads, while it listens. */
  readonly log: string[] = [];
  listening = false;

  constructor(options: VmMachineOptions = {}) {
    const vcpuCount = options.config?.vcpus ?? 1;
    const config = vmConfig({ tablePages: 256, ...options.config, vcpus: vcpuCount, threads: vcpuCount + 2 });
    const { arenaWords } = new VmLayout(config);
    this.memory = new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * arenaWords)));
    this.layout = createVm(this.memory, config);
    this.vms = Array.from({ length: config.threads }, (_, threadId) =>
      openVm({
        layout: this.layout,
        threadId,
        environment: {
          memory: this.memory,
          now: () => 0,
          needResched: () => false,
          counters: new Float64Array(COUNTER_SLOTS),
          probe: this.#probe(),
        },
        trace: this.#trace(),
        bugs: options.bugs,
      }),
    );
    this.vcpus = this.vms.slice(0, vcpuCount).map(
      (vm, id) =>
        new Vcpu({
          kvm: vm.kvm,
          id,
          area: new VcpuArea(vm.vcpuArea(id), config),
          contentWord: vm.contentWord,
          observer: options.observer,
        }),
    );
  }

  get config(): VmConfig {
    return this.layout.config;
  }

  /** The handle of the thread that makes ioctls. */
  get ioctl(): Vm {
    return this.vms[this.vcpus.length];
  }

  /** The handle of another thread of the host process. */
  get hostThread(): Vm {
    return this.vms[this.vcpus.length + 1];
  }

  run<T>(task: Task<T>): T {
    return runToEnd(this.memory, task);
  }

  together(tasks: readonly Task<unknown>[], pick: Pick, options: Partial<TogetherOptions> = {}): void {
    runTogether(this.memory, tasks, pick, options);
  }

  /** Creates slot `slot` at gfn `base` over all of a region. */
  slot(slot: number, base: number, name: string, flags = 0): void {
    const region = this.ioctl.region(name);
    const task = setUserMemoryRegion(this.ioctl, { slot, baseGfn: base, pages: region.pages, region: region.index, flags });
    if (this.run(task) !== 0) throw new Error(`slot ${slot} was refused`);
  }

  touch(first: number, count: number, kind: AccessKind, stride = 1): void {
    const result = this.run(touchPages(this.vcpus[0], { first: asGfn(first), count, stride }, kind));
    if (result !== GuestResult.done) throw new Error(`the guest's access ended with ${result}`);
  }

  write(first: number, count = 1, stride = 1): void {
    this.touch(first, count, AccessKind.write, stride);
  }

  read(first: number, count = 1, stride = 1): void {
    this.touch(first, count, AccessKind.read, stride);
  }

  /** What happens while `task` runs. */
  heard<T>(task: Task<T>): string[] {
    return this.heardWhile(() => void this.run(task));
  }

  heardWhile(action: () => void): string[] {
    this.log.length = 0;
    this.listening = true;
    action();
    this.listening = false;
    return [...this.log];
  }

  /** Version of frame `pfn`. */
  version(pfn: number): number {
    const { frames } = this.ioctl.space;
    return this.memory.load32(own(frames.contentWord(pfn as never)));
  }

  #say(text: string): void {
    if (this.listening) this.log.push(text);
  }

  #probe(): Probe {
    const nothing = (): void => {};
    const lock = (number: number, mode: LockMode, verb: string): void => {
      if (lockName(number) === 'mmu_lock') this.#say(`${mode === LockMode.read ? 'read' : 'write'} ${verb}`);
    };
    return {
      lockAttempt: (number, mode) => lock(number, mode, 'lock'),
      lockReleased: (number, mode) => lock(number, mode, 'unlock'),
      lockContended: nothing,
      lockAcquired: nothing,
      rcuReadLock: nothing,
      rcuReadUnlock: nothing,
      rcuGracePeriod: nothing,
      flushRequested: nothing,
      flushDone: nothing,
      pageAllocated: nothing,
      pageFreed: nothing,
    };
  }

  /** Names as in the recordings, without what walks tell of themselves. */
  #trace(): MmuTrace {
    const hex = (n: number): string => n.toString(16);
    const spoken: Partial<MmuTrace> = {
      operation: (name) => this.#say(name),
      pageFaultDone: (_vcpu, gfn, result) => this.#say(`fault ${hex(gfn)} ends ${result}`),
      spteChanged: (_asId, gfn, level, old, next) => this.#say(`${hex(gfn)} level ${level}: ${lowBits(old)} -> ${lowBits(next)}`),
      trySplit: (start, end) => this.#say(`try_split ${hex(start)}-${hex(end)}`),
      wrprotSlot: (level) => this.#say(`wrprot_slot ${level}`),
      clearDirtySlot: () => this.#say('clear_dirty_slot'),
      writeProtectGfn: (gfn, level) => this.#say(`write_protect_gfn ${hex(gfn)} ${level}`),
      clearDirtyPtMasked: (gfn, mask) => this.#say(`clear_dirty_pt_masked ${hex(gfn)} ${mask.toString(16)}`),
      unmapHvaRange: (_region, first, end) => this.#say(`unmap hva ${hex(first)}-${hex(end)}`),
      flushRange: (gfn, pages) => this.#say(`flush ${hex(gfn)}+${pages}`),
      ageHvaRange: (_region, first, end) => this.#say(`age hva ${hex(first)}-${hex(end)}`),
    };
    return new Proxy(spoken as MmuTrace, {
      get: (target, name) => target[name as keyof MmuTrace] ?? ((): void => {}),
    });
  }
}

/** Bits 0-11 of an SPTE, or what stands for none. */
function lowBits(spte: { readonly lo: number; readonly hi: number }): string {
  if (spte.hi === 1 << 31 && spte.lo === 0) return 'none';
  return (spte.lo & 0xfff).toString(16);
}

/** The last entry on the way to `gfn` below the root of the first vCPU. */
export function spteAt(machine: VmMachine, gfn: number): Spte {
  const { kvm, mmu } = machine.vcpus[0];
  let page = mmu.root;
  for (let level = kvm.geometry.rootLevel; ; level--) {
    const spte = machine.memory.load64(own(kvm.pages.sptep(page, kvm.geometry.index(asGfn(gfn), level))));
    if (!isTableLo(spte.lo, level)) return spte;
    page = spteToChildPage(spte);
  }
}

/** Flags of slots that log. */
export const LOG = SlotFlag.logDirty;

export const gfns = (...numbers: number[]): Gfn[] => numbers.map(asGfn);

/** The pages that a dirty log reports, as `first+count` of runs. */
export function dirtyRuns(bitmap: Uint32Array, base = 0): string {
  const runs: [number, number][] = [];
  for (let page = 0; page < 32 * bitmap.length; page++) {
    if ((bitmap[page >>> 5] & (1 << (page & 31))) === 0) continue;
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === page) last[1]++;
    else runs.push([page, 1]);
  }
  return runs.map(([first, count]) => `${(base + first).toString(16)}+${count}`).join(' ');
}
