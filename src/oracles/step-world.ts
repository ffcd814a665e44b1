/**
 * What happens in a VM, step by step, for the step oracles: hears the engine's steps and what threads report between them, puts
 * both in order, and keeps track of threads and tables.
 *
 * An engine calls `step` after each granted step. Whatever a thread reports (locks, tracepoints, guest accesses) belongs behind
 * the access of the step in which it reports it, so reports wait in a queue until the engine has told of that step. The oracles
 * therefore see everything in the order of the accesses, in any engine that runs its threads in one JavaScript thread.
 */
import { InvariantError } from '../machine/invariant.ts';
import type { Memory } from '../machine/memory.ts';
import { PageState } from '../machine/page-allocator.ts';
import { type Address, own, StepKind } from '../machine/point.ts';
import type { Probe } from '../machine/probe.ts';
import { VcpuMode } from '../machine/tlb-shootdown.ts';
import { Word64 } from '../machine/word64.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Level } from '../mmu/level.ts';
import { PageHeader, roleInvalid } from '../mmu/mmu-page.ts';
import { isLastSpte, isShadowPresent, type Spte, spteToChildPage } from '../mmu/spte.ts';
import type { MmuTrace } from '../mmu/trace.ts';
import type { GuestObserver } from '../vm/vcpu.ts';
import type { Vm } from '../vm/vm.ts';
import type { Where } from './oracle.ts';
import { QuiescentState } from './quiescent-state.ts';
import type { StepOracle } from './step-oracle.ts';
import { ThreadReports } from './step-reports.ts';
import { TableInfo, TableStatus } from './table-info.ts';
import { walkTables } from './table-walk.ts';
import { ThreadView } from './thread-view.ts';

export interface StepWorldOptions {
  readonly vm: Vm;
  readonly oracles: readonly StepOracle[];
  /** Names of the threads, by thread number. */
  readonly threads: readonly string[];
  /** The vCPU that a thread runs, or -1. Default: thread n runs vCPU n, as far as there are vCPUs. */
  readonly vcpuOf?: (thread: number) => number;
}

export class StepWorld {
  readonly vm: Vm;
  readonly kvm: Kvm;
  readonly memory: Memory;
  readonly oracles: readonly StepOracle[];
  readonly threads: readonly ThreadView[];
  readonly tables: readonly TableInfo[];
  /** Steps taken so far. */
  clock = 0;
  /** While it is false nothing is watched: set-up, and the end of an execution. */
  on = false;
  /** The last violation, with all that is known of it. */
  violation: { readonly oracle: string; readonly rule: string; readonly where: Where; readonly message: string } | null = null;
  /** What threads reported since the last step. */
  readonly queue: (() => void)[] = [];
  /** The tables as the oracles have seen them. */
  readonly #shadow: Int32Array;
  readonly #tablesEnd: number;

  constructor(options: StepWorldOptions) {
    const { vm } = options;
    this.vm = vm;
    this.kvm = vm.kvm;
    this.memory = vm.memory;
    this.oracles = options.oracles;
    const vcpuOf = options.vcpuOf ?? ((id: number) => (id < vm.config.vcpus ? id : -1));
    this.threads = options.threads.map((name, id) => new ThreadView(id, name, vcpuOf(id)));
    const { allocator } = this.kvm;
    this.tables = Array.from({ length: allocator.pages }, () => new TableInfo());
    this.#shadow = new Int32Array(2 * allocator.entries * allocator.pages);
    this.#tablesEnd = allocator.tables + this.#shadow.length;
  }

  /** The tracepoints of thread `id`, to hand to its `Kvm`. */
  traceOf(id: number): MmuTrace {
    return new ThreadReports(this, this.threads[id]);
  }

  /** The probe of thread `id`, for its environment. */
  probeOf(id: number): Probe {
    return new ThreadReports(this, this.threads[id]).probe;
  }

  /** The observer of a vCPU's guest accesses. */
  get guestObserver(): GuestObserver {
    const report = (vcpu: number, gfn: Gfn, pfn: number, write: boolean): void => {
      if (!this.on) return;
      this.queue.push(() => {
        const thread = this.threads.find((t) => t.vcpu === vcpu) as ThreadView;
        const step = { thread, vcpu, gfn, pfn: pfn as never, write, byHardware: this.vcpuInGuest(vcpu) };
        for (const oracle of this.oracles) oracle.guest?.(this, step);
      });
    };
    return {
      wrote: (vcpu, gfn, pfn) => report(vcpu, gfn, pfn, true),
      read: (vcpu, gfn, pfn) => report(vcpu, gfn, pfn, false),
    };
  }

  /** An execution begins: nobody is inside anything. */
  start(): void {
    this.clock = 0;
    this.violation = null;
    this.queue.length = 0;
    for (const thread of this.threads) thread.reset();
    this.#readTables();
    this.on = true;
    for (const oracle of this.oracles) oracle.start?.(this);
  }

  /** All threads have ended. */
  end(): void {
    this.#report();
    this.on = false;
    for (const oracle of this.oracles) oracle.end?.(this);
  }

  /** Thread `id` has taken a granted step. */
  step(id: number, kind: StepKind, a: Address): void {
    if (!this.on) return;
    this.clock++;
    if (kind <= StepKind.Count) this.#access(this.threads[id], kind, a);
    this.#report();
  }

  /** Ends the run. */
  fail(oracle: StepOracle, rule: string, where: Where, message: string): never {
    this.violation = { oracle: oracle.name, rule, where, message };
    throw new InvariantError(rule, message);
  }

  /** Whether the processor of `vcpu` is in the guest: what its thread does to page tables is then the processor's doing. */
  vcpuInGuest(vcpu: number): boolean {
    if (vcpu < 0) return false;
    const mode = this.memory.load32(own(this.kvm.requests.mode(vcpu)));
    return mode === VcpuMode.inGuest || mode === VcpuMode.exitingGuest;
  }

  /** Whether the root was invalidated. */
  isInvalid(root: number): boolean {
    return roleInvalid(this.memory.load32(own(this.kvm.pages.word(root, PageHeader.role))));
  }

  #report(): void {
    const { queue } = this;
    for (const report of queue) report();
    queue.length = 0;
  }

  #access(thread: ThreadView, kind: StepKind, a: Address): void {
    const { allocator } = this.kvm;
    if (a < allocator.tables || a >= this.#tablesEnd) {
      for (const oracle of this.oracles) oracle.access?.(this, thread, kind, a);
      if (kind === StepKind.Write && a === this.kvm.word(KvmWord.roots)) this.#rootListed(this.memory.load32(own(a)));
      return;
    }
    const page = Math.floor((a - allocator.tables) / (2 * allocator.entries));
    for (const oracle of this.oracles) oracle.tableAccess?.(this, thread, kind, page, a);
    if (kind !== StepKind.Read) this.#spteWritten(thread, kind, page, a);
  }

  #spteWritten(thread: ThreadView, kind: StepKind, page: number, sptep: Address): void {
    const { allocator, geometry } = this.kvm;
    const at = sptep - allocator.tables;
    const old = new Word64(this.#shadow[at], this.#shadow[at + 1]);
    const next = this.memory.load64(own(sptep));
    if (old.lo === next.lo && old.hi === next.hi) return;
    this.#shadow[at] = next.lo;
    this.#shadow[at + 1] = next.hi;
    const table = this.tables[page];
    const index = (sptep - allocator.tableOf(page)) >> 1;
    const gfn = asGfn(table.gfn + index * geometry.span(table.level));
    const step = { thread, kind, sptep, page, table, gfn, level: table.level, old, next };
    for (const oracle of this.oracles) oracle.spte?.(this, step);
    if (table.status !== TableStatus.linked) return;
    const was = childOf(old, table.level);
    const is = childOf(next, table.level);
    if (was !== is && was !== 0) this.#removed(was);
    if (was !== is && is !== 0) this.#linked(is, table.root, table.level - 1, gfn);
  }

  #rootListed(root: number): void {
    if (root !== 0 && this.tables[root].status !== TableStatus.linked) {
      this.#linked(root, root, this.kvm.geometry.rootLevel, asGfn(0));
    }
  }

  /** A page was linked, with what hangs below it. */
  #linked(page: number, root: number, level: Level, gfn: Gfn): void {
    const info = this.tables[page];
    if (info === undefined || level < 1) return;
    info.status = TableStatus.linked;
    info.root = root;
    info.level = level;
    info.gfn = gfn;
    const { allocator } = this.kvm;
    const from = allocator.tableOf(page) - allocator.tables;
    for (let i = 0; i < 2 * allocator.entries; i++) {
      this.#shadow[from + i] = this.memory.load32(own((allocator.tables + from + i) as Address));
    }
  }

  /** A table was taken out of its tree, with all tables below it. */
  #removed(page: number): void {
    const info = this.tables[page];
    if (info === undefined || info.status !== TableStatus.linked) return;
    info.status = TableStatus.removed;
    const { allocator } = this.kvm;
    const from = allocator.tableOf(page) - allocator.tables;
    for (let i = 0; i < allocator.entries; i++) {
      const child = childOf(new Word64(this.#shadow[from + 2 * i], this.#shadow[from + 2 * i + 1]), info.level);
      if (child !== 0) this.#removed(child);
    }
  }

  /** The allocator, or the MMU, says what becomes of a page. */
  pageMoved(page: number, status: TableStatus, thread: ThreadView): void {
    const info = this.tables[page];
    info.status = status;
    info.owner = status === TableStatus.private ? thread.id : -1;
  }

  #readTables(): void {
    const state = new QuiescentState(this.vm);
    const { allocator, pages } = this.kvm;
    const found = walkTables(state, null);
    for (let i = 0; i < this.#shadow.length; i++) this.#shadow[i] = state.load((allocator.tables + i) as Address);
    for (let page = 1; page < allocator.pages; page++) {
      const info = this.tables[page];
      const at = state.pageState(page);
      info.owner = -1;
      if (found[page] > 0) {
        info.status = TableStatus.linked;
        info.level = pages.level(page);
        info.gfn = pages.gfn(page);
      } else if (at === PageState.cached) {
        // In the hands of a thread that nobody can name.
        info.status = TableStatus.private;
      } else {
        info.status = at === PageState.free ? TableStatus.free : TableStatus.removed;
      }
    }
    for (const root of state.roots()) this.#markRoot(root, root);
  }

  #markRoot(page: number, root: number): void {
    const info = this.tables[page];
    info.root = root;
    const { allocator } = this.kvm;
    const from = allocator.tableOf(page) - allocator.tables;
    for (let i = 0; i < allocator.entries && info.level > 1; i++) {
      const child = childOf(new Word64(this.#shadow[from + 2 * i], this.#shadow[from + 2 * i + 1]), info.level);
      if (child !== 0) this.#markRoot(child, root);
    }
  }
}

/** The table that an SPTE links, or 0. */
function childOf(spte: Spte, level: Level): number {
  return isShadowPresent(spte) && !isLastSpte(spte, level) ? spteToChildPage(spte) : 0;
}
