/**
 * A VM that holds still, as the state oracles read it: plain reads of the arena, no locks, no writes.
 *
 * What threads keep in JavaScript (cached roots, pages at hand, counters, what the VMM model has copied) comes in by options;
 * where it is left out, the oracles check what the arena alone can tell.
 */
import type { Memory } from '../machine/memory.ts';
import type { PageState } from '../machine/page-allocator.ts';
import { type Address, own } from '../machine/point.ts';
import type { Word64 } from '../machine/word64.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import type { Gfn, Pfn } from '../mmu/level.ts';
import { asGfn } from '../mmu/level.ts';
import { type Memslot, slotContains } from '../mmu/memslot.ts';
import { PageHeader } from '../mmu/mmu-page.ts';
import { shadowRoots } from '../shadow/audit.ts';
import { asTable, isTable } from '../vm/host-pte.ts';
import type { HostRegion, HostSpace } from '../vm/host-space.ts';
import { VcpuArea, VcpuWord } from '../vm/vcpu-layout.ts';
import type { Vm } from '../vm/vm.ts';
import { ADDRESS_SPACES } from '../vm/vm-layout.ts';
import type { Where } from './oracle.ts';

/** What the VMM model last copied of a guest page: the frame that it read, and the version that it found. */
export interface SentPage {
  readonly pfn: Pfn;
  readonly version: number;
}

export interface StateOptions {
  /**
   * All roots that a vCPU holds references to, the current one and cached ones; undefined where nobody knows. Without it: the
   * current one, from the arena.
   */
  readonly vcpuRoots?: (vcpu: number) => readonly number[] | undefined;
  /** Page-table pages in the hands of threads (page caches). Without it any cached page is taken for one. */
  readonly cachedPages?: Iterable<number>;
  /** Sum over all threads of the counter of that index. */
  readonly counter?: (index: number) => number;
  /** What the VMM copied last of a page of a logging slot, or undefined for none. Without it lost writes are not looked for. */
  readonly sent?: (slot: Memslot, gfn: Gfn) => SentPage | undefined;
  /** The last transitions of the SPTE at a place, oldest first; empty where the place names none. */
  readonly history?: (where: Where) => readonly string[];
  /** Violations that each oracle keeps. */
  readonly limit?: number;
}

export const VIOLATIONS_KEPT = 20;

export class QuiescentState {
  readonly vm: Vm;
  readonly kvm: Kvm;
  readonly memory: Memory;
  readonly space: HostSpace;
  readonly options: StateOptions;
  /** The vCPUs' areas, by vCPU. */
  readonly areas: readonly VcpuArea[];
  /** The active memslots of each address space, in order of their gfns. */
  readonly slots: readonly (readonly Memslot[])[];
  /** The write-tracked gfns. */
  readonly trackedGfns: ReadonlySet<number>;
  readonly #lastSlot: (Memslot | null)[];

  constructor(vm: Vm, options: StateOptions = {}) {
    this.vm = vm;
    this.kvm = vm.kvm;
    this.memory = vm.memory;
    this.space = vm.space;
    this.options = options;
    this.areas = Array.from({ length: vm.config.vcpus }, (_, id) => new VcpuArea(vm.vcpuArea(id), vm.config));
    this.slots = vm.slots.sets.map((sets) => sets.decode(this.load(sets.active)));
    this.#lastSlot = Array.from({ length: ADDRESS_SPACES }, () => null);
    const tracked = this.load(this.kvm.word(KvmWord.trackedGfns));
    this.trackedGfns = new Set(
      Array.from({ length: tracked }, (_, i) => this.loadGfn((this.kvm.layout.pageTrack + 2 * i) as Address)),
    );
  }

  load(a: Address): number {
    return this.memory.load32(own(a));
  }

  load64(a: Address): Word64 {
    return this.memory.load64(own(a));
  }

  /** A number of up to 53 bits in two words. */
  loadGfn(a: Address): Gfn {
    return asGfn(this.load((a + 1) as Address) * 2 ** 32 + (this.load(a) >>> 0));
  }

  /** Word `index` of the header of page-table page `page`. */
  header(page: number, index: number): number {
    return this.load(this.kvm.pages.word(page, index));
  }

  pageState(page: number): PageState {
    return this.kvm.allocator.stateOf(this.memory, page);
  }

  /** Whether `page` is the number of a page-table page. */
  isPage(page: number): boolean {
    return page > 0 && page < this.kvm.allocator.pages;
  }

  /** The roots on the list, in its order (the rmap-based MMU: of its active pages); a list that is not well formed ends where it goes wrong. */
  roots(): readonly number[] {
    const { shadow } = this.vm.layout;
    if (shadow !== null) return shadowRoots(this.kvm, shadow);
    const roots: number[] = [];
    for (let root = this.load(this.kvm.word(KvmWord.roots)); this.isPage(root); root = this.header(root, PageHeader.rootNext)) {
      if (roots.includes(root)) break;
      roots.push(root);
    }
    return roots;
  }

  /** The root that a vCPU runs on, 0 for none. */
  currentRoot(vcpu: number): number {
    return this.load(this.areas[vcpu].word(VcpuWord.root));
  }

  /** The requests that a vCPU has not served. */
  requests(vcpu: number): number {
    return this.load(this.kvm.requests.requests(vcpu));
  }

  mode(vcpu: number): number {
    return this.load(this.kvm.requests.mode(vcpu));
  }

  /** The active slot of `asId` that holds `gfn`, or null. */
  slotOf(asId: number, gfn: Gfn): Memslot | null {
    const last = this.#lastSlot[asId];
    if (last !== null && slotContains(last, gfn)) return last;
    const found = this.slots[asId]?.find((slot) => slotContains(slot, gfn)) ?? null;
    this.#lastSlot[asId] = found;
    return found;
  }

  region(slot: Memslot): HostRegion {
    return this.space.regions[slot.region];
  }

  /** The host's page of a slot's gfn. */
  hostPage(slot: Memslot, gfn: Gfn): number {
    return slot.regionPage + (gfn - slot.baseGfn);
  }

  /** The host's page-table entry for `page`. */
  hostPte(region: HostRegion, page: number): number {
    const entry = region.entryOf(page);
    const word = this.load(region.directoryWord(entry));
    return isTable(word) ? this.load((asTable(word) + (page - entry * region.span)) as Address) : word;
  }

  /** Whether the page's bit is set in the slot's dirty bitmap. */
  isLogged(slot: Memslot, gfn: Gfn): boolean {
    const offset = gfn - slot.baseGfn;
    return ((this.load((slot.dirtyBitmap + Math.floor(offset / 32)) as Address) >>> (offset & 31)) & 1) !== 0;
  }
}
