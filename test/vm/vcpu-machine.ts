/** A VM for tests of vCPUs: the real MMU over a host whose pages a test moves about by hand. */
import { ArenaLayout } from '../../src/machine/arena.ts';
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { type Address, own, type Task } from '../../src/machine/point.ts';
import { runToEnd } from '../../src/machine/run.ts';
import { Thread } from '../../src/machine/thread.ts';
import { toBigInt, type Word64 } from '../../src/machine/word64.ts';
import type { BugSwitches } from '../../src/mmu/bug-switches.ts';
import { FaultinResult, type Host } from '../../src/mmu/host.ts';
import { Kvm, type KvmConfig, KvmLayout } from '../../src/mmu/kvm.ts';
import { asGfn, asPfn, type Gfn, type Level, type Pfn, PG_LEVEL_4K } from '../../src/mmu/level.ts';
import { type Memslot, slotContains } from '../../src/mmu/memslot.ts';
import type { MemslotLookup } from '../../src/mmu/memslot-lookup.ts';
import { PARAMS, type ParamName } from '../../src/mmu/params.ts';
import type { MmuTrace } from '../../src/mmu/trace.ts';
import { Vcpu, type VcpuOptions } from '../../src/vm/vcpu.ts';
import { VcpuArea, type VcpuAreaConfig, vcpuAreaWords } from '../../src/vm/vcpu-layout.ts';

/** The first frame of guest memory. */
export const FRAMES = 2 ** 20;
const FRAME_COUNT = 4096;

export interface VcpuMachineOptions {
  readonly config?: Partial<KvmConfig>;
  readonly area?: Partial<VcpuAreaConfig>;
  readonly slots?: readonly Memslot[];
  readonly bugs?: BugSwitches;
  readonly trackContents?: boolean;
  readonly vcpu?: Partial<VcpuOptions>;
}

const CONFIG: KvmConfig = {
  vcpus: 2,
  threads: 3,
  kernel: '6.12',
  cpu: 'npt',
  lock: 'rwlock',
  entries: 512,
  rootLevel: 4,
  maxGfn: 2 ** 36,
  tablePages: 64,
  adBits: true,
};

/** A slot without a log; `npages` pages at `base`. */
export function slotOf(base: number, npages: number, flags = 0): Memslot {
  return {
    id: 1,
    asId: 0,
    baseGfn: asGfn(base),
    npages,
    flags,
    region: 0,
    regionPage: base,
    dirtyBitmap: 0 as Address,
    bitmapWords: 0,
  };
}

export class VcpuMachine {
  readonly memory: PlainMemory;
  readonly config: KvmConfig;
  /** One handle a thread: vCPUs 0, 1, … and then whoever else there is. */
  readonly kvms: Kvm[];
  readonly areas: VcpuArea[];
  readonly contents: Address;
  /** The dirty bitmap for a slot that logs: 64 words. */
  readonly bitmap: Address;
  slots: readonly Memslot[];
  generation = 4;
  /** The host's page for a gfn, where it is not the one of the same number. Null: none. */
  readonly moved = new Map<number, Pfn | null>();
  hostLevel: Level = PG_LEVEL_4K;
  hostWritable = true;
  /** What the MMU's tracepoints reported, as [name, …arguments]. */
  readonly events: unknown[][] = [];
  readonly #options: VcpuMachineOptions;

  constructor(options: VcpuMachineOptions = {}) {
    this.#options = options;
    this.config = { ...CONFIG, ...options.config };
    const { config } = this;
    this.slots = options.slots ?? [slotOf(0, 2048)];
    const areaConfig = { tlbEntries: 16, pwcEntries: 4, pmlEntries: 8, ...options.area };
    const arena = new ArenaLayout();
    const layout = new KvmLayout(arena, config);
    this.areas = Array.from({ length: config.vcpus }, () => {
      return new VcpuArea(arena.reserve('vcpu', vcpuAreaWords(areaConfig)), areaConfig);
    });
    this.contents = arena.reserve('contents', FRAME_COUNT);
    this.bitmap = arena.reserve('bitmap', 128);
    this.memory = new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * arena.words)));
    const trace = new Proxy({} as MmuTrace, {
      get: (_target, name) => {
        return (...args: unknown[]): void => void this.events.push([name, ...args]);
      },
    });
    this.kvms = Array.from({ length: config.threads }, (_, id) => {
      const thread = new Thread(id, `thread ${id}`, layout.threadBlock(id), {
        memory: this.memory,
        now: () => 0,
        needResched: () => false,
        counters: new Float64Array(COUNTER_SLOTS),
        probe: null,
      });
      return new Kvm({ config, layout, thread, host: this.#host(), slots: this.#lookup(), bugs: options.bugs, trace });
    });
    for (const [name, row] of Object.entries(PARAMS)) this.kvms[0].params.set(name as ParamName, row.default);
  }

  /** The handle of the thread that runs no vCPU. */
  get ioctl(): Kvm {
    return this.kvms[this.config.threads - 1];
  }

  vcpu(id = 0, options: Partial<VcpuOptions> = {}): Vcpu {
    const contentWord = this.#options.trackContents === false ? null : this.contentWord;
    const common = { kvm: this.kvms[id], id, area: this.areas[id], contentWord };
    return new Vcpu({ ...common, ...this.#options.vcpu, ...options });
  }

  run<T>(task: Task<T>): T {
    return runToEnd(this.memory, task);
  }

  readonly contentWord = (pfn: Pfn): Address => {
    if (!(pfn >= FRAMES && pfn < FRAMES + FRAME_COUNT)) throw new RangeError(`no frame 0x${pfn.toString(16)}`);
    return (this.contents + pfn - FRAMES) as Address;
  };

  /** The version of frame number `n`. */
  version(n: number): number {
    return this.memory.load32(own(this.contentWord(asPfn(FRAMES + n))));
  }

  /** The address of the entry for `gfn` at `level` below `root`, by way of the tables as they stand. */
  sptep(root: number, gfn: number, level: Level): Address {
    const { pages, geometry } = this.kvms[0];
    let page = root;
    for (let at = geometry.rootLevel; ; at--) {
      const sptep = pages.sptep(page, geometry.index(asGfn(gfn), at));
      if (at === level) return sptep;
      page = this.memory.load32(own(sptep)) >>> 12;
    }
  }

  spte(root: number, gfn: number, level: Level = PG_LEVEL_4K): bigint {
    return toBigInt(this.memory.load64(own(this.sptep(root, gfn, level))));
  }

  store(root: number, gfn: number, level: Level, value: Word64): void {
    this.memory.store64(own(this.sptep(root, gfn, level)), value);
  }

  /** The events of these names, in order. */
  seen(...names: string[]): unknown[][] {
    return this.events.filter(([name]) => names.includes(name as string));
  }

  pfn(gfn: Gfn): Pfn | null {
    const moved = this.moved.get(gfn);
    return moved === undefined ? asPfn(FRAMES + gfn) : moved;
  }

  #host(): Host {
    const machine = this;
    return {
      *faultin(_kvm, fault) {
        const pfn = machine.pfn(fault.gfn);
        if (pfn === null || (fault.write && !machine.hostWritable)) return FaultinResult.error;
        fault.pfn = pfn;
        fault.mapWritable = machine.hostWritable;
        return FaultinResult.ok;
      },
      *mappingLevel() {
        return machine.hostLevel;
      },
      setPageDirty() {},
      setPageAccessed() {},
    };
  }

  #lookup(): MemslotLookup {
    const machine = this;
    return {
      *find(_kvm, _asId, gfn) {
        return machine.slots.find((slot) => slotContains(slot, gfn)) ?? null;
      },
      *all() {
        return machine.slots;
      },
      *generation() {
        return { number: machine.generation, inProgress: false };
      },
    };
  }
}
