/**
 * The memslots of a VM as they lie in the arena (kernel: struct kvm_memslots, kvm->__memslots).
 *
 * Each address space has two sets. One is active: vCPUs and notifiers read it inside SRCU sections, and nobody writes it. The
 * other is where an update puts the slots that come next. A word counts the publications: its lowest bit says which set is
 * active, and while it stays the same a thread can keep what it decoded.
 */
import { LINE_WORDS } from '../machine/arena.ts';
import { invariant } from '../machine/invariant.ts';
import type { Memory } from '../machine/memory.ts';
import { type Address, fixed, own, read, type Task, write } from '../machine/point.ts';
import { asGfn } from '../mmu/level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import type { SlotGeneration } from '../mmu/memslot-lookup.ts';
import { RMAP_LEVELS } from './slot-rmaps.ts';
import { MEMSLOT_WORDS, type VmLayout } from './vm-layout.ts';

/** Words of a set's head. */
const SetWord = {
  /** Slots of the set. */
  count: 0,
  /** Twice the memslot generation, plus 1 while an update is in progress. */
  generation: 1,
} as const;

const SlotWord = {
  id: 0,
  flags: 1,
  pages: 2,
  region: 3,
  /** Low and high half. */
  baseGfn: 4,
  regionPage: 6,
  dirtyBitmap: 8,
  bitmapWords: 9,
  /** First words of the reverse maps, by level from 1: three words, 0 for none. */
  rmaps: 10,
} as const;

const TWO_32 = 2 ** 32;

/** The sets of one address space. */
export class MemslotSets {
  readonly memory: Memory;
  readonly asId: number;
  /** Counts publications. */
  readonly active: Address;
  readonly #sets: readonly Address[];
  readonly #maxMemslots: number;

  constructor(memory: Memory, layout: VmLayout, asId: number) {
    const { memslotSets, memslotSetWords } = layout;
    this.memory = memory;
    this.asId = asId;
    this.active = (layout.activeSets + LINE_WORDS * asId) as Address;
    this.#sets = [0, 1].map((set) => (memslotSets + (2 * asId + set) * memslotSetWords) as Address);
    this.#maxMemslots = layout.config.maxMemslots;
  }

  /** The set that `active`, a value of the active word, names. */
  #set(active: number): Address {
    return this.#sets[active & 1];
  }

  /** Decodes the set that `active` names: its slots in order of their gfns. The caller keeps it from being rewritten. */
  decode(active: number): readonly Memslot[] {
    const { memory } = this;
    const set = this.#set(active);
    const count = memory.load32(fixed(at(set, SetWord.count)));
    return Array.from({ length: count }, (_, i) => this.#decodeSlot(at(set, LINE_WORDS + MEMSLOT_WORDS * i)));
  }

  #decodeSlot(slot: Address): Memslot {
    const load = (index: number): number => this.memory.load32(fixed(at(slot, index)));
    const load64 = (index: number): number => load(index + 1) * TWO_32 + (load(index) >>> 0);
    return {
      id: load(SlotWord.id),
      asId: this.asId,
      baseGfn: asGfn(load64(SlotWord.baseGfn)),
      npages: load(SlotWord.pages),
      flags: load(SlotWord.flags),
      region: load(SlotWord.region),
      regionPage: load64(SlotWord.regionPage),
      dirtyBitmap: load(SlotWord.dirtyBitmap) as Address,
      bitmapWords: load(SlotWord.bitmapWords),
      ...(load(SlotWord.rmaps) === 0 ? {} : { rmaps: [0, ...RMAP_LEVELS.map((_, i) => load(SlotWord.rmaps + i))] as Address[] }),
    };
  }

  /** Fills the inactive set with `slots`. The caller holds slots_lock and slots_arch_lock, and SRCU readers have left it. */
  stage(slots: readonly Memslot[]): void {
    const { memory } = this;
    invariant(slots.length <= this.#maxMemslots, 'too-many-memslots', `${slots.length} memslots: maxMemslots is too small`);
    const set = this.#set(this.#activeNow() + 1);
    memory.store32(own(at(set, SetWord.count)), slots.length);
    const sorted = [...slots].sort((a, b) => a.baseGfn - b.baseGfn);
    for (const [i, slot] of sorted.entries()) this.#encodeSlot(at(set, LINE_WORDS + MEMSLOT_WORDS * i), slot);
  }

  #encodeSlot(a: Address, slot: Memslot): void {
    const store = (index: number, value: number): void => this.memory.store32(own(at(a, index)), value);
    const store64 = (index: number, value: number): void => {
      store(index, value | 0);
      store(index + 1, Math.floor(value / TWO_32));
    };
    store(SlotWord.id, slot.id);
    store64(SlotWord.baseGfn, slot.baseGfn);
    store(SlotWord.pages, slot.npages);
    store(SlotWord.flags, slot.flags);
    store(SlotWord.region, slot.region);
    store64(SlotWord.regionPage, slot.regionPage);
    store(SlotWord.dirtyBitmap, slot.dirtyBitmap);
    store(SlotWord.bitmapWords, slot.bitmapWords);
    for (const [i, level] of RMAP_LEVELS.entries()) store(SlotWord.rmaps + i, slot.rmaps?.[level] ?? 0);
  }

  /** The active word as its writer knows it: under slots_lock. */
  #activeNow(): number {
    return this.memory.load32(own(this.active));
  }

  /** Where set 0 or 1 has its generation. */
  generationWord(set: number): Address {
    return at(this.#sets[set], SetWord.generation);
  }

  /** The generation of the active set. */
  *generation(): Task<SlotGeneration> {
    const active = this.memory.load32(yield read(this.active));
    const word = this.memory.load32(yield read(at(this.#set(active), SetWord.generation)));
    return { number: word >>> 1, inProgress: (word & 1) !== 0 };
  }

  /** The generation of the active set, for its writer: under slots_lock. */
  currentGeneration(): number {
    return this.memory.load32(own(at(this.#set(this.#activeNow()), SetWord.generation))) >>> 1;
  }

  /** Gives the inactive set its generation before it is published. */
  setInactiveGeneration(generation: SlotGeneration): void {
    const word = at(this.#set(this.#activeNow() + 1), SetWord.generation);
    this.memory.store32(own(word), 2 * generation.number + (generation.inProgress ? 1 : 0));
  }

  /** Gives the active set its final generation. */
  *setGeneration(generation: number): Task<void> {
    this.memory.store32(yield write(at(this.#set(this.#activeNow()), SetWord.generation)), 2 * generation);
  }

  /** Makes the inactive set the active one. */
  *publish(): Task<void> {
    this.memory.store32(yield write(this.active), this.#activeNow() + 1);
  }
}

const at = (base: Address, index: number): Address => (base + index) as Address;
