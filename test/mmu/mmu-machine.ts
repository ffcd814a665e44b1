/** A VM without a VM layer: the MMU over plain memory, with a host that maps whatever a test says. */
import { ArenaLayout } from '../../src/machine/arena.ts';
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import type { Address, Task } from '../../src/machine/point.ts';
import { own } from '../../src/machine/point.ts';
import { runToEnd, runTogether, seededPick } from '../../src/machine/run.ts';
import { Thread } from '../../src/machine/thread.ts';
import type { BugSwitches } from '../../src/mmu/bug-switches.ts';
import { FaultinResult, type Host } from '../../src/mmu/host.ts';
import { Kvm, type KvmConfig, KvmLayout } from '../../src/mmu/kvm.ts';
import { asGfn, asPfn, type Gfn, type Level } from '../../src/mmu/level.ts';
import type { Memslot } from '../../src/mmu/memslot.ts';
import type { MemslotLookup } from '../../src/mmu/memslot-lookup.ts';
import { kvmMmuPageFault } from '../../src/mmu/page-fault.ts';
import { PfErr } from '../../src/mmu/page-fault-info.ts';
import { PARAMS, type ParamName } from '../../src/mmu/params.ts';
import { kvmMmuReload } from '../../src/mmu/root-load.ts';
import { isShadowPresent, isTableLo, type Spte, spteToChildPage } from '../../src/mmu/spte.ts';
import type { MmuTrace } from '../../src/mmu/trace.ts';
import { VcpuMmu } from '../../src/mmu/vcpu-mmu.ts';

/** First PFN of guest memory. */
export const GUEST_PFN = 2 ** 20;

export interface MachineOptions extends Partial<KvmConfig> {
  readonly slots?: readonly Memslot[];
  /** Level at which the host maps guest memory. */
  readonly hostLevel?: Level;
  readonly params?: Partial<Record<ParamName, number>>;
  readonly bugs?: BugSwitches;
  readonly trace?: MmuTrace;
  readonly needResched?: (thread: number) => boolean;
  /** Whether an allocation that may not sleep fails. */
  readonly failAllocation?: () => boolean;
}

export const slotOf = (over: Partial<Record<keyof Memslot, number>> = {}): Memslot =>
  ({
    id: 1,
    asId: 0,
    baseGfn: 0,
    npages: 2 ** 20,
    flags: 0,
    region: 0,
    regionPage: 0,
    dirtyBitmap: 0,
    bitmapWords: 0,
    ...over,
  }) as unknown as Memslot;

export class MmuMachine {
  readonly memory: PlainMemory;
  readonly layout: KvmLayout;
  readonly config: KvmConfig;
  /** A handle a thread; the first `vcpus` of them are the vCPUs'. */
  readonly kvms: Kvm[] = [];
  readonly vcpus: VcpuMmu[] = [];
  /** The host's mapping, which a test may change. */
  hostLevel: Level;
  writable = true;
  slots: readonly Memslot[];
  readonly bitmap: Address;

  constructor(options: MachineOptions = {}) {
    this.config = {
      vcpus: 2,
      threads: 4,
      kernel: '6.12',
      cpu: 'npt',
      lock: 'rwlock',
      entries: 512,
      rootLevel: 4,
      maxGfn: 2 ** 36,
      tablePages: 400,
      adBits: true,
      ...options,
    };
    this.hostLevel = options.hostLevel ?? 1;
    const arena = new ArenaLayout();
    this.layout = new KvmLayout(arena, this.config);
    this.bitmap = arena.reserve('bitmap', 4096);
    const words = new Int32Array(new SharedArrayBuffer(arena.words * 4));
    this.memory = new PlainMemory(words);
    for (const name of Object.keys(PARAMS) as ParamName[]) {
      words[this.layout.params + PARAMS[name].word] = options.params?.[name] ?? PARAMS[name].default;
    }
    this.slots = options.slots ?? [slotOf()];
    const host: Host = {
      *faultin(_kvm, fault) {
        if (fault.slot === null) return FaultinResult.error;
        fault.pfn = asPfn(GUEST_PFN + fault.gfn - fault.slot.baseGfn + fault.slot.regionPage);
        fault.mapWritable = machine.writable;
        return FaultinResult.ok;
      },
      *mappingLevel() {
        return machine.hostLevel;
      },
      setPageDirty() {},
      setPageAccessed() {},
    };
    const lookup: MemslotLookup = {
      *find(_kvm, asId, gfn) {
        const found = machine.slots.find((s) => s.asId === asId && gfn >= s.baseGfn && gfn < s.baseGfn + s.npages);
        return found ?? null;
      },
      *all(_kvm, asId) {
        return machine.slots.filter((s) => s.asId === asId);
      },
      *generation() {
        return { number: 4, inProgress: false };
      },
    };
    const machine = this;
    for (let id = 0; id < this.config.threads; id++) {
      const thread = new Thread(id, `thread ${id}`, this.layout.threadBlock(id), {
        memory: this.memory,
        now: () => 0,
        needResched: () => options.needResched?.(id) ?? false,
        counters: new Float64Array(COUNTER_SLOTS),
        probe: null,
        failAllocation: options.failAllocation,
      });
      const kvm = new Kvm({
        config: this.config,
        layout: this.layout,
        thread,
        host,
        slots: lookup,
        trace: options.trace ?? null,
        bugs: options.bugs,
      });
      this.kvms.push(kvm);
      if (id < this.config.vcpus) this.vcpus.push(new VcpuMmu(kvm, { vcpu: id, onLoadRoot: () => {} }));
    }
  }

  run<T>(task: Task<T>): T {
    return runToEnd(this.memory, task);
  }

  together<T>(seed: number, ...tasks: Task<T>[]): T[] {
    return runTogether(this.memory, tasks, seededPick(seed));
  }

  /** A fault of vCPU `id`, with its root loaded first. */
  *fault(id: number, gfn: number, errorCode: number = PfErr.write): Task<number> {
    yield* kvmMmuReload(this.kvms[id], this.vcpus[id]);
    return yield* kvmMmuPageFault(this.kvms[id], this.vcpus[id], asGfn(gfn), errorCode | PfErr.user);
  }

  /** Every present SPTE below `root`, pre-order. */
  dump(root: number = this.vcpus[0].root): { gfn: Gfn; level: Level; spte: Spte; table: boolean }[] {
    const kvm = this.kvms[0];
    const rows: { gfn: Gfn; level: Level; spte: Spte; table: boolean }[] = [];
    const visit = (page: number, level: Level, base: number): void => {
      for (let i = 0; i < kvm.geometry.entries; i++) {
        const spte = this.memory.load64(own(kvm.pages.sptep(page, i)));
        if (!isShadowPresent(spte)) continue;
        const gfn = asGfn(base + i * kvm.geometry.span(level));
        const table = isTableLo(spte.lo, level);
        rows.push({ gfn, level, spte, table });
        if (table) visit(spteToChildPage(spte), level - 1, gfn);
      }
    };
    visit(root, kvm.geometry.rootLevel, 0);
    return rows;
  }

  leaves(root?: number): { gfn: Gfn; level: Level; spte: Spte }[] {
    return this.dump(root).filter((row) => !row.table);
  }

  counter(index: number): number {
    return this.kvms.reduce((sum, kvm) => sum + kvm.counters[index], 0);
  }
}
