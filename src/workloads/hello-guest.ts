/**
 * The guest of the thread on the fast-forwarding iterator ("Fast forward the iterator when zapping the TDP MMU", Kauer,
 * October 2024): a tiny kernel that says hello on a serial port and shuts its VM down. Zapping its roots is nearly all of the
 * time that its memory management takes, and nearly all of that is stepping over empty entries.
 *
 * What the thread's log tells of it fixes its page tables: a page of code in low memory, the page with the reset vector below
 * 4 GiB, a touch of the local APIC's registers (an MMIO SPTE: a table, but no leaf), and a root for SMM with nothing in it.
 */
import { LINE_WORDS } from '../machine/arena.ts';
import { COUNTER_SLOTS } from '../machine/counters.ts';
import { PlainMemory } from '../machine/plain-memory.ts';
import { runToEnd } from '../machine/run.ts';
import { MmuCounter } from '../mmu/counters.ts';
import { asGfn, type Gfn } from '../mmu/level.ts';
import type { IterMode } from '../mmu/params.ts';
import { kvmMmuNewPgd, kvmMmuReload } from '../mmu/root-load.ts';
import { isShadowPresent } from '../mmu/spte.ts';
import type { MmuTrace } from '../mmu/trace.ts';
import { kvmMmuZapAll } from '../mmu/zap-all.ts';
import { touchPages } from '../vm/guest-programs.ts';
import { setUserMemoryRegion } from '../vm/ioctl.ts';
import { AccessKind } from '../vm/page-walker.ts';
import { Vcpu } from '../vm/vcpu.ts';
import { VcpuArea } from '../vm/vcpu-layout.ts';
import { createVm, openVm, type Vm } from '../vm/vm.ts';
import { type VmConfig, vmConfig } from '../vm/vm-config.ts';
import { VmLayout } from '../vm/vm-layout.ts';

const RAM_PAGES = 512;
const FIRMWARE_PAGES = 16;
const FOUR_GIB = 2 ** 20;
/** Where the parts of the guest lie. */
const CODE = asGfn(1);
const APIC = asGfn(0xfee00);
const RESET_VECTOR = asGfn(FOUR_GIB - 1);

/** One walk over one root. */
export interface ZapWalk {
  /** Address space of the root. */
  readonly asId: number;
  /** Level up to which this walk zaps. */
  readonly level: number;
  /** Turns of the walk's loop. */
  readonly steps: number;
  /** Entries that it zapped. */
  readonly zapped: number;
}

/** Runs the guest, shuts it down, and tells what each walk of its zap cost. */
export function zapHelloGuest(iterMode: IterMode): readonly ZapWalk[] {
  return zapAfter(
    {
      tablePages: 64,
      memory: [
        { name: 'ram', type: '4k', pages: RAM_PAGES },
        { name: 'firmware', type: '4k', pages: FIRMWARE_PAGES },
      ],
      params: { iterMode },
    },
    boot,
  );
}

/** A guest of which one 4K page is mapped in each so many pages. */
export interface SparseGuest {
  /** Of its memory. */
  readonly pages: number;
  readonly pagesApart: number;
}

/** Touches the pages of a sparse guest, shuts it down, and tells what each walk of its zap cost. */
export function zapSparseGuest({ pages, pagesApart }: SparseGuest, iterMode: IterMode): readonly ZapWalk[] {
  const touched = Math.ceil(pages / pagesApart);
  // A table of each of three levels for a page at most; the host's table for its 2M.
  const config = {
    tablePages: 3 * touched + 64,
    heapWords: 4096 + touched * (512 + LINE_WORDS),
    memory: [{ name: 'ram', type: '4k' as const, pages }],
    params: { iterMode },
  };
  return zapAfter(config, (vm) => {
    const { kvm, memory } = vm;
    runToEnd(memory, setUserMemoryRegion(vm, { slot: 0, baseGfn: 0, pages, region: 0 }));
    const vcpu = new Vcpu({ kvm, id: 0, area: new VcpuArea(vm.vcpuArea(0), vm.config), contentWord: vm.contentWord });
    runToEnd(memory, touchPages(vcpu, { first: asGfn(0), count: touched, stride: pagesApart }, AccessKind.write));
  });
}

/** Makes a VM with one vCPU, runs `guest` in it, and zaps everything as its end does. */
function zapAfter(options: Partial<VmConfig>, guest: (vm: Vm) => void): readonly ZapWalk[] {
  const config = vmConfig({ vcpus: 1, threads: 1, maxGfn: 2 ** 36, ...options });
  const memory = new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * new VmLayout(config).arenaWords)));
  const layout = createVm(memory, config);
  const counters = new Float64Array(COUNTER_SLOTS);
  const log = new WalkLog(counters);
  const vm = openVm({
    layout,
    threadId: 0,
    environment: { memory, now: () => 0, needResched: () => false, counters, probe: null },
    trace: log.trace(),
  });
  guest(vm);
  runToEnd(memory, kvmMmuZapAll(vm.kvm));
  return log.finish();
}

function boot(vm: Vm): void {
  const { kvm, memory } = vm;
  const run = (task: Parameters<typeof runToEnd>[1]): unknown => runToEnd(memory, task);
  run(setUserMemoryRegion(vm, { slot: 0, baseGfn: 0, pages: RAM_PAGES, region: 0 }));
  run(setUserMemoryRegion(vm, { slot: 1, baseGfn: FOUR_GIB - FIRMWARE_PAGES, pages: FIRMWARE_PAGES, region: 1 }));
  const vcpu = new Vcpu({ kvm, id: 0, area: new VcpuArea(vm.vcpuArea(0), vm.config), contentWord: vm.contentWord });
  run(kvmMmuNewPgd(kvm, vcpu.mmu, 1, false));
  run(kvmMmuReload(kvm, vcpu.mmu));
  run(kvmMmuNewPgd(kvm, vcpu.mmu, 0, false));
  const touch = (gfn: Gfn, kind: AccessKind): unknown => run(touchPages(vcpu, { first: gfn, count: 1, stride: 1 }, kind));
  touch(RESET_VECTOR, AccessKind.read);
  touch(APIC, AccessKind.write);
  touch(CODE, AccessKind.write);
}

/** Cuts the count of steps into the walks that zaps announce. */
class WalkLog {
  readonly #counters: Float64Array;
  readonly #walks: { asId: number; level: number; steps: number; zapped: number }[] = [];
  #before = 0;

  constructor(counters: Float64Array) {
    this.#counters = counters;
  }

  trace(): MmuTrace {
    const heard: Partial<MmuTrace> = {
      zapRootPass: (asId, level) => {
        this.#close();
        this.#walks.push({ asId, level, steps: 0, zapped: 0 });
      },
      spteChanged: (_asId, _gfn, _level, old, next) => {
        const walk = this.#walks.at(-1);
        if (walk !== undefined && isShadowPresent(old) && !isShadowPresent(next)) walk.zapped++;
      },
    };
    return new Proxy(heard as MmuTrace, {
      get: (target, name) => target[name as keyof MmuTrace] ?? ((): void => {}),
    });
  }

  finish(): readonly ZapWalk[] {
    this.#close();
    return this.#walks;
  }

  #close(): void {
    const now = this.#counters[MmuCounter.iter_steps];
    const walk = this.#walks.at(-1);
    if (walk !== undefined) walk.steps = now - this.#before;
    this.#before = now;
  }
}
