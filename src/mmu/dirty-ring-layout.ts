/** Where the dirty rings of all vCPUs lie in the arena (kernel: struct kvm_dirty_ring, struct kvm_dirty_gfn). */
import { type ArenaLayout, LINE_WORDS } from '../machine/arena.ts';
import type { Address } from '../machine/point.ts';

/** Words of a ring's head, each written by one thread. */
export const RingWord = {
  /** Entries pushed so far: the vCPU's. */
  dirtyIndex: 0,
  /** Entries taken back: under slots_lock. */
  resetIndex: LINE_WORDS,
  /** Entries collected: user space's own. */
  fetchIndex: LINE_WORDS + 2,
} as const;

export const EntryWord = { flags: 0, slot: 1, offset: 2 } as const;
const HEAD_WORDS = 2 * LINE_WORDS;
const ENTRY_WORDS = 4;

export class DirtyRingLayout {
  /** Entries of one ring: a power of two. */
  readonly entries: number;
  readonly #base: Address;
  readonly #stride: number;

  constructor(arena: ArenaLayout, vcpus: number, entries: number) {
    this.entries = entries;
    this.#stride = Math.ceil((HEAD_WORDS + ENTRY_WORDS * entries) / LINE_WORDS) * LINE_WORDS;
    this.#base = arena.reserve('dirty rings', vcpus * this.#stride);
  }

  word(vcpu: number, index: number): Address {
    return (this.#base + vcpu * this.#stride + index) as Address;
  }

  /** First word of the entry with running number `index`. */
  entry(vcpu: number, index: number): Address {
    return this.word(vcpu, HEAD_WORDS + ENTRY_WORDS * (index % this.entries));
  }
}
