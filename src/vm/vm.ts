/**
 * A VM: made once in an arena, then opened by each thread that works on it.
 */
import type { Memory } from '../machine/memory.ts';
import { type Address, own } from '../machine/point.ts';
import { Thread, type ThreadEnvironment, type ThreadState } from '../machine/thread.ts';
import type { BugSwitches } from '../mmu/bug-switches.ts';
import { Kvm } from '../mmu/kvm.ts';
import type { Pfn } from '../mmu/level.ts';
import { PARAMS, type ParamName, Params } from '../mmu/params.ts';
import type { MmuTrace } from '../mmu/trace.ts';
import { Rmaps } from '../shadow/rmap.ts';
import { ShadowMmu } from '../shadow/shadow-mmu.ts';
import { FREE_FRAME, Frames } from './frames.ts';
import { HostMemory } from './host-memory.ts';
import { HostPte, makePte } from './host-pte.ts';
import { HostRegion, HostSpace } from './host-space.ts';
import { MemslotSets } from './memslot-sets.ts';
import { type DecodedSlots, Memslots } from './memslots.ts';
import type { VmConfig } from './vm-config.ts';
import { VmLayout } from './vm-layout.ts';

/**
 * Puts a new VM into `memory`, which is all 0 and holds at least `new VmLayout(config).arenaWords` words: parameters, host
 * page tables of populated memory, versions of frames. Memslots and vCPUs come later. Nobody else runs.
 */
export function createVm(memory: Memory, config: VmConfig): VmLayout {
  const layout = new VmLayout(config);
  const params = new Params(memory, layout.kvm.params);
  for (const name of Object.keys(PARAMS) as ParamName[]) params.set(name, config.params[name] ?? PARAMS[name].default);
  // The generation of an address space starts at its number, so that no two are ever equal.
  for (let asId = 0; asId < 2; asId++) {
    const sets = new MemslotSets(memory, layout, asId);
    memory.store32(own(sets.generationWord(0)), 2 * asId);
  }
  const frames = new Frames(memory, layout.frames, layout.contents);
  if (frames.tracked) {
    const { hugeZero, count } = layout.frames;
    memory.fill32(own(frames.contentWord(hugeZero)), FREE_FRAME, count);
    const zeros = layout.frames.zero - hugeZero + 1;
    memory.fill32(own(frames.contentWord(hugeZero)), 0, zeros);
  }
  config.memory.forEach((region, i) => {
    if (region.populate) populate(memory, new HostRegion(i, region, layout.hostTables[i]), frames);
  });
  return layout;
}

/** Maps all pages of a region: huge where it can. */
function populate(memory: Memory, region: HostRegion, frames: Frames): void {
  const small = makePte(HostPte.present, 0);
  const huge = region.type === '4k' || (region.type === 'thp' && region.userfaultfd) ? small : small | HostPte.huge;
  const whole = Math.floor(region.pages / region.span);
  memory.fill32(own(region.directoryWord(0)), huge, whole);
  if (whole < region.layout.entries) memory.store32(own(region.directoryWord(whole)), small);
  frames.allocate(frames.layout.pfn(region.index, 0, small, 0), region.pages);
}

export interface OpenVmOptions {
  readonly layout: VmLayout;
  /** Index of the thread: below `config.threads`, and nobody else's. */
  readonly threadId: number;
  readonly threadName?: string;
  readonly environment: ThreadEnvironment;
  readonly trace?: MmuTrace | null;
  readonly bugs?: BugSwitches;
}

/** What a thread's handle on a VM keeps beside the arena. */
export interface VmState {
  readonly thread: ThreadState;
  readonly slots: readonly DecodedSlots[];
}

/** One thread's handle on a VM: the shared words, and the thread that uses them. */
export class Vm {
  readonly layout: VmLayout;
  readonly config: VmConfig;
  readonly thread: Thread;
  readonly memory: Memory;
  /** The host process's memory. */
  readonly space: HostSpace;
  readonly host: HostMemory;
  readonly slots: Memslots;
  readonly kvm: Kvm;

  constructor(options: OpenVmOptions) {
    const { layout, threadId, environment } = options;
    const { config } = layout;
    if (!(threadId >= 0 && threadId < config.threads)) {
      throw new RangeError(`thread ${threadId}: the VM is made for ${config.threads} threads`);
    }
    this.layout = layout;
    this.config = config;
    this.memory = environment.memory;
    const name = options.threadName ?? `thread ${threadId}`;
    this.thread = new Thread(threadId, name, layout.kvm.threadBlock(threadId), environment);
    this.space = new HostSpace(this.memory, layout);
    this.host = new HostMemory(this.space);
    this.slots = new Memslots(layout, this.memory);
    this.kvm = new Kvm({
      config,
      layout: layout.kvm,
      thread: this.thread,
      host: this.host,
      slots: this.slots,
      backend: layout.shadow === null ? null : new ShadowMmu(new Rmaps(this.memory, layout.shadow)),
      trace: options.trace,
      bugs: options.bugs,
    });
  }

  /** What the thread keeps beside the arena, to go with a copy of the arena. */
  saveState(): VmState {
    return { thread: this.thread.saveState(), slots: this.slots.saveState() };
  }

  restoreState(state: VmState): void {
    this.thread.restoreState(state.thread);
    this.slots.restoreState(state.slots);
  }

  /** The host's region of that name. Errors: RangeError. */
  region(name: string): HostRegion {
    return this.space.region(name);
  }

  /** Address of the version of a frame's contents, or null where they are not tracked: what guest writes count up. */
  get contentWord(): ((pfn: Pfn) => Address) | null {
    const { frames } = this.space;
    return frames.tracked ? (pfn) => frames.contentWord(pfn) : null;
  }

  vcpuArea(vcpu: number): Address {
    return this.layout.vcpuArea(vcpu);
  }
}

export function openVm(options: OpenVmOptions): Vm {
  return new Vm(options);
}
