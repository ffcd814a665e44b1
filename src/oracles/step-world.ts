/**
 * What happens in a VM, step by step, for the step oracles: hears the engine's steps and what threads report between them, puts
 * both in order, and keeps track of threads and tables.
 *
 * An engine calls `step` after each granted step. Whatever a thread reports (locks, tracepoints, guest accesses) belongs behind
 * the access of the step in which it reports it, so reports wait in a queue until the engine has told of that step. The oracles
 * therefore see everything in the order of the accesses, in any engine that runs its threads in one JavaScript thread.
 *
 * What an execution begins with is read once (`prepare`) and put back at the start of each.
 */
import { InvariantError } from '../machine/invariant.ts';
import type { Memory } from '../machine/memory.ts';
import { PAGE_DESCRIPTOR_WORDS, PageState } from '../machine/page-allocator.ts';
import { type Address, own, StepKind } from '../machine/point.ts';
import { VcpuMode } from '../machine/tlb-shootdown.ts';
import { Word64 } from '../machine/word64.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Level, type Pfn } from '../mmu/level.ts';
import { type Memslot, slotContains } from '../mmu/memslot.ts';
import { PageHeader, roleInvalid } from '../mmu/mmu-page.ts';
import { isLastSpte, isShadowPresent, type Spte, spteToChildPage } from '../mmu/spte.ts';
import type { GuestObserver, Vcpu } from '../vm/vcpu.ts';
import { VcpuArea, VcpuWord } from '../vm/vcpu-layout.ts';
import type { Vm } from '../vm/vm.ts';
import { leafBelow } from './cached-translations.ts';
import type { Where } from './oracle.ts';
import { QuiescentState } from './quiescent-state.ts';
import { type Listeners, listenersOf, type SpteChange, type StepOracle } from './step-oracle.ts';
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

/** What a word of the arena is to the oracles, as bits. */
const WordKind = { watched: 1, header: 2, table: 4 } as const;

/** Words of a page's descriptor that belong to the allocator, not to the MMU. */
const ALLOCATORS_OWN = 4;

export class StepWorld implements GuestObserver {
  readonly vm: Vm;
  readonly kvm: Kvm;
  readonly memory: Memory;
  readonly oracles: readonly StepOracle[];
  readonly hear: Listeners;
  readonly threads: readonly ThreadView[];
  readonly tables: readonly TableInfo[];
  /** The vCPUs, for those who look at what processors cache: set by whoever made them. */
  vcpus: readonly Vcpu[] = [];
  /** Steps taken so far. */
  clock = 0;
  /** While it is false nothing is watched: set-up, and the end of an execution. */
  on = false;
  /** Somebody else who wants every SPTE change, such as the history of a report. */
  onChange: ((thread: ThreadView, change: SpteChange) => void) | null = null;
  /** The last violation, with all that is known of it. */
  violation: { readonly oracle: string; readonly rule: string; readonly where: Where; readonly message: string } | null = null;
  /** What threads reported since the last step: the first `#waiting` of them. */
  readonly #reports: (() => void)[] = [];
  #waiting = 0;
  /** For each word of the arena its {@link WordKind}. */
  readonly #kinds: Uint8Array;
  /** The tables as the oracles have seen them, and as they are at the start. */
  readonly #shadow: Int32Array;
  readonly #firstShadow: Int32Array;
  readonly #firstTables: readonly TableInfo[];
  /** Pages whose table, or place in the tree, was changed since the start. */
  readonly #changedPages: number[] = [];
  readonly #threadOfVcpu: (ThreadView | undefined)[] = [];
  /** For each vCPU the word that says on which root it runs. */
  readonly #rootWords: readonly Address[];
  /** For each address space its memslots, decoded when they are asked for; and those of the first state. */
  #slots: (readonly Memslot[] | undefined)[] = [];
  #firstSlots: readonly (readonly Memslot[])[] = [];
  #slotsPublished = false;
  #prepared = false;

  constructor(options: StepWorldOptions) {
    const { vm } = options;
    this.vm = vm;
    this.kvm = vm.kvm;
    this.memory = vm.memory;
    this.oracles = options.oracles;
    this.hear = listenersOf(options.oracles);
    const vcpuOf = options.vcpuOf ?? ((id: number) => (id < vm.config.vcpus ? id : -1));
    this.threads = options.threads.map((name, id) => new ThreadView(id, name, vcpuOf(id)));
    for (const thread of this.threads) if (thread.vcpu >= 0) this.#threadOfVcpu[thread.vcpu] = thread;
    const { allocator } = this.kvm;
    this.tables = Array.from({ length: allocator.pages }, () => new TableInfo());
    this.#firstTables = Array.from({ length: allocator.pages }, () => new TableInfo());
    this.#shadow = new Int32Array(2 * allocator.entries * allocator.pages);
    this.#firstShadow = new Int32Array(this.#shadow.length);
    this.#kinds = new Uint8Array(vm.layout.arenaWords);
    this.#kinds.fill(WordKind.table, allocator.tables, allocator.tables + this.#shadow.length);
    for (let page = 1; page < allocator.pages; page++) {
      const descriptor = allocator.descriptorOf(page);
      this.#kinds.fill(WordKind.header, descriptor + ALLOCATORS_OWN, descriptor + PAGE_DESCRIPTOR_WORDS);
    }
    this.watch(this.kvm.word(KvmWord.roots));
    for (const { active } of vm.slots.sets) this.watch(active);
    this.#rootWords = Array.from({ length: vm.config.vcpus }, (_, id) =>
      new VcpuArea(vm.vcpuArea(id), vm.config).word(VcpuWord.root),
    );
  }

  /** The memslots of address space `asId` as they are published. */
  slots(asId: number): readonly Memslot[] {
    const sets = this.vm.slots.sets[asId];
    return (this.#slots[asId] ??= sets.decode(this.memory.load32(own(sets.active))));
  }

  /** The memslot that holds `gfn`, or null. */
  slotOf(asId: number, gfn: Gfn): Memslot | null {
    for (const slot of this.slots(asId)) if (slotContains(slot, gfn)) return slot;
    return null;
  }

  /** What thread `id` reports by, to hand to its `Kvm` as tracepoints and to its environment as probe. */
  reportsOf(id: number): ThreadReports {
    return new ThreadReports(this, this.threads[id]);
  }

  /** Asks for accesses to `count` words from `a` on to be told (`StepOracle.access`). */
  watch(a: Address, count = 1): void {
    for (let word: number = a; word < a + count; word++) this.#kinds[word] |= WordKind.watched;
  }

  wrote(vcpu: number, gfn: Gfn, pfn: Pfn): void {
    this.#guest(vcpu, gfn, pfn, true);
  }

  read(vcpu: number, gfn: Gfn, pfn: Pfn): void {
    this.#guest(vcpu, gfn, pfn, false);
  }

  #guest(vcpu: number, gfn: Gfn, pfn: Pfn, write: boolean): void {
    if (!this.on) return;
    const thread = this.#threadOfVcpu[vcpu] as ThreadView;
    this.later(() => {
      const root = this.memory.load32(own(this.#rootWords[vcpu]));
      const leaf = root === 0 ? null : leafBelow(this.kvm, root, gfn);
      const step = { thread, vcpu, gfn, pfn, write, byHardware: this.vcpuInGuest(vcpu), root, leaf };
      for (const listen of this.hear.guest) listen(this, step);
    });
  }

  /** Keeps a report until the step under way has been told of. */
  later(report: () => void): void {
    if (this.on) this.#reports[this.#waiting++] = report;
  }

  /** Reads the first state of executions from the arena as it stands. */
  prepare(): void {
    this.#readTables();
    this.#changedPages.length = 0;
    for (let page = 0; page < this.tables.length; page++) this.#restore(page);
    this.#prepared = true;
    this.#slots = [];
    this.#firstSlots = this.vm.slots.sets.map((_, asId) => this.slots(asId));
    for (const listen of this.hear.prepare) listen(this);
  }

  /** Whether the step at hand is an old store that leaves its thread's store buffer: the thread has gone on since. */
  drained = false;

  /** An execution begins: nobody is inside anything, and the arena is in its first state. */
  start(): void {
    if (!this.#prepared) this.prepare();
    this.clock = 0;
    this.violation = null;
    this.#waiting = 0;
    for (const thread of this.threads) thread.reset();
    for (let i = 0; i < this.#changedPages.length; i++) this.#restore(this.#changedPages[i]);
    if (this.#changedPages.length > 0) this.#changedPages.length = 0;
    if (this.#slotsPublished) this.#slots = [...this.#firstSlots];
    this.#slotsPublished = false;
    for (const listen of this.hear.start) listen(this);
    this.on = true;
  }

  /** All threads have ended. */
  end(): void {
    this.#report();
    this.on = false;
    for (const listen of this.hear.end) listen(this);
  }

  /** Thread `id` has taken a granted step. */
  step(id: number, kind: StepKind, a: Address, drained = false): void {
    if (!this.on) return;
    this.clock++;
    this.drained = drained;
    const thread = this.threads[id];
    if (kind <= StepKind.Count && this.#kinds[a] !== 0) this.#access(thread, kind, a);
    if (this.#waiting > 0) this.#report();
    for (const listen of this.hear.step) listen(this, thread, kind, a);
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
    // One that ends the run leaves the others untold.
    const waiting = this.#waiting;
    this.#waiting = 0;
    for (let i = 0; i < waiting; i++) this.#reports[i]();
  }

  /** Notes that a page is no longer as it was at the start. */
  #change(page: number): TableInfo {
    const info = this.tables[page];
    if (!info.changed) {
      info.changed = true;
      this.#changedPages.push(page);
    }
    return info;
  }

  #restore(page: number): void {
    this.tables[page].copy(this.#firstTables[page]);
    const words = 2 * this.kvm.allocator.entries;
    for (let at = page * words; at < (page + 1) * words; at++) this.#shadow[at] = this.#firstShadow[at];
  }

  #access(thread: ThreadView, kind: StepKind, a: Address): void {
    const what = this.#kinds[a];
    const { allocator } = this.kvm;
    if ((what & WordKind.watched) !== 0) {
      if (kind !== StepKind.Read && this.vm.slots.sets.some(({ active }) => active === a)) {
        this.#slotsPublished = true;
        this.#slots = [];
      }
      for (const listen of this.hear.access) listen(this, thread, kind, a);
      if (kind === StepKind.Write && a === this.kvm.word(KvmWord.roots)) this.#rootListed(this.memory.load32(own(a)));
    }
    if ((what & WordKind.header) !== 0) {
      const page = Math.floor((a - allocator.descriptors) / PAGE_DESCRIPTOR_WORDS);
      for (const listen of this.hear.headerAccess) listen(this, thread, kind, page, a);
    } else if ((what & WordKind.table) !== 0) {
      const page = allocator.pageOfTable(a);
      for (const listen of this.hear.tableAccess) listen(this, thread, kind, page, a);
      if (kind !== StepKind.Read) this.#spteWritten(thread, kind, page, a);
    }
  }

  #spteWritten(thread: ThreadView, kind: StepKind, page: number, sptep: Address): void {
    const { allocator, geometry } = this.kvm;
    const at = sptep - allocator.tables;
    const oldLo = this.#shadow[at];
    const oldHi = this.#shadow[at + 1];
    const next = this.memory.load64(own(sptep));
    if (oldLo === next.lo && oldHi === next.hi) return;
    const old = new Word64(oldLo, oldHi);
    this.#shadow[at] = next.lo;
    this.#shadow[at + 1] = next.hi;
    const table = this.#change(page);
    const index = (sptep - allocator.tableOf(page)) >> 1;
    const gfn = asGfn(table.gfn + index * geometry.span(table.level));
    const step = { thread, kind, sptep, page, table, gfn, level: table.level, old, next };
    for (const listen of this.hear.spte) listen(this, step);
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
    if (page >= this.tables.length || level < 1) return;
    const info = this.#change(page);
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
    if (this.tables[page]?.status !== TableStatus.linked) return;
    const info = this.#change(page);
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
    const info = this.#change(page);
    info.status = status;
    info.owner = status === TableStatus.private ? thread.id : -1;
  }

  #readTables(): void {
    const state = new QuiescentState(this.vm);
    const { allocator, pages } = this.kvm;
    const found = walkTables(state, null);
    for (let i = 0; i < this.#firstShadow.length; i++) this.#firstShadow[i] = state.load((allocator.tables + i) as Address);
    for (let page = 1; page < allocator.pages; page++) {
      const info = this.#firstTables[page];
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
    const info = this.#firstTables[page];
    info.root = root;
    const { allocator } = this.kvm;
    const from = allocator.tableOf(page) - allocator.tables;
    for (let i = 0; i < allocator.entries && info.level > 1; i++) {
      const child = childOf(new Word64(this.#firstShadow[from + 2 * i], this.#firstShadow[from + 2 * i + 1]), info.level);
      if (child !== 0) this.#markRoot(child, root);
    }
  }
}

/** The table that an SPTE links, or 0. */
function childOf(spte: Spte, level: Level): number {
  return isShadowPresent(spte) && !isLastSpte(spte, level) ? spteToChildPage(spte) : 0;
}
