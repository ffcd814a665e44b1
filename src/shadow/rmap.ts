/**
 * Reverse mappings: from a gfn, or from a page-table page, to the SPTEs that map it (kernel: pte_list_add, pte_list_remove,
 * struct kvm_rmap_head in arch/x86/kvm/mmu.c of 5.4).
 *
 * A head holds nothing (0), one SPTE's address, or a descriptor's number with bit 0 set; SPTE addresses are even. A descriptor
 * is filled from its front, and only the last of a chain has room, until entries are removed. All of it is under mmu_lock,
 * the spinlock: this memory and the time under that lock are what the TDP MMU did away with.
 */
import { InvariantError, invariant } from '../machine/invariant.ts';
import type { Memory } from '../machine/memory.ts';
import { type Address, read, type Task, write } from '../machine/point.ts';
import { PTE_DESC_SPTES, type ShadowLayout, ShadowWord } from './shadow-layout.ts';

const many = (index: number): number => (index << 1) | 1;
const isMany = (value: number): boolean => (value & 1) !== 0;
const descriptorOf = (value: number): number => value >>> 1;

export class Rmaps {
  readonly memory: Memory;
  readonly layout: ShadowLayout;

  constructor(memory: Memory, layout: ShadowLayout) {
    this.memory = memory;
    this.layout = layout;
  }

  /** Adds `sptep` to the list at `head`. Errors: pte-list-exhausted. */
  *add(head: Address, sptep: Address): Task<void> {
    const { memory, layout } = this;
    const value = memory.load32(yield read(head));
    if (value === 0) {
      memory.store32(yield write(head), sptep);
      return;
    }
    if (!isMany(value)) {
      const index = yield* this.#allocDescriptor();
      memory.store32(yield write(layout.descriptor(index)), value);
      memory.store32(yield write(slotOf(layout.descriptor(index), 1)), sptep);
      memory.store32(yield write(head), many(index));
      return;
    }
    let at = layout.descriptor(descriptorOf(value));
    while (memory.load32(yield read(slotOf(at, PTE_DESC_SPTES - 1))) !== 0) {
      let next = memory.load32(yield read(nextOf(at)));
      if (next === 0) {
        next = yield* this.#allocDescriptor();
        memory.store32(yield write(nextOf(at)), next);
      }
      at = layout.descriptor(next);
    }
    let i = 0;
    while (memory.load32(yield read(slotOf(at, i))) !== 0) i++;
    memory.store32(yield write(slotOf(at, i)), sptep);
  }

  /** Takes `sptep` off the list at `head`. Errors: rmap-missing, where it is not on it. */
  *remove(head: Address, sptep: Address): Task<void> {
    const { memory, layout } = this;
    const value = memory.load32(yield read(head));
    if (!isMany(value)) {
      invariant(value === sptep, 'rmap-missing', `SPTE ${sptep} is not in the reverse map at ${head}`);
      memory.store32(yield write(head), 0);
      return;
    }
    let previous = 0;
    for (let index = descriptorOf(value); index !== 0; ) {
      const at = layout.descriptor(index);
      for (let i = 0; i < PTE_DESC_SPTES; i++) {
        if (memory.load32(yield read(slotOf(at, i))) !== sptep) continue;
        yield* this.#removeEntry(head, previous, index, i);
        return;
      }
      previous = index;
      index = memory.load32(yield read(nextOf(at)));
    }
    throw new InvariantError('rmap-missing', `SPTE ${sptep} is not in the reverse map at ${head}`);
  }

  /** Fills the hole with the descriptor's last entry, and frees the descriptor with its only one (pte_list_desc_remove_entry). */
  *#removeEntry(head: Address, previous: number, index: number, i: number): Task<void> {
    const { memory, layout } = this;
    const at = layout.descriptor(index);
    let last = PTE_DESC_SPTES - 1;
    let moved = memory.load32(yield read(slotOf(at, last)));
    while (moved === 0) moved = memory.load32(yield read(slotOf(at, --last)));
    memory.store32(yield write(slotOf(at, i)), moved);
    memory.store32(yield write(slotOf(at, last)), 0);
    if (last !== 0) return;
    const next = memory.load32(yield read(nextOf(at)));
    if (previous !== 0) memory.store32(yield write(nextOf(layout.descriptor(previous))), next);
    else memory.store32(yield write(head), next === 0 ? 0 : many(next));
    yield* this.#freeDescriptor(index);
  }

  /** All SPTE addresses of the list at `head`, as they are now. */
  *list(head: Address): Task<readonly Address[]> {
    const { memory, layout } = this;
    const value = memory.load32(yield read(head));
    if (value === 0) return [];
    if (!isMany(value)) return [value as Address];
    const all: Address[] = [];
    for (let index = descriptorOf(value); index !== 0; ) {
      const at = layout.descriptor(index);
      for (let i = 0; i < PTE_DESC_SPTES; i++) {
        const sptep = memory.load32(yield read(slotOf(at, i)));
        if (sptep === 0) break;
        all.push(sptep as Address);
      }
      index = memory.load32(yield read(nextOf(at)));
    }
    return all;
  }

  /** An empty descriptor that ends a chain. */
  *#allocDescriptor(): Task<number> {
    const { memory, layout } = this;
    const freeHead = layout.word(ShadowWord.descFree);
    let index = memory.load32(yield read(freeHead));
    if (index !== 0) {
      memory.store32(yield write(freeHead), memory.load32(yield read(nextOf(layout.descriptor(index)))));
    } else {
      const mark = layout.word(ShadowWord.descNext);
      index = memory.load32(yield read(mark)) + 1;
      const { descriptorCount } = layout;
      invariant(index <= descriptorCount, 'pte-list-exhausted', `all ${descriptorCount} pte_list_desc are in use`);
      memory.store32(yield write(mark), index);
    }
    const at = layout.descriptor(index);
    for (let i = 0; i < PTE_DESC_SPTES; i++) memory.store32(yield write(slotOf(at, i)), 0);
    memory.store32(yield write(nextOf(at)), 0);
    yield* this.#addUsed(1);
    return index;
  }

  *#freeDescriptor(index: number): Task<void> {
    const { memory, layout } = this;
    const freeHead = layout.word(ShadowWord.descFree);
    memory.store32(yield write(nextOf(layout.descriptor(index))), memory.load32(yield read(freeHead)));
    memory.store32(yield write(freeHead), index);
    yield* this.#addUsed(-1);
  }

  *#addUsed(delta: number): Task<void> {
    const used = this.layout.word(ShadowWord.descUsed);
    this.memory.store32(yield write(used), this.memory.load32(yield read(used)) + delta);
  }
}

const slotOf = (descriptor: Address, i: number): Address => (descriptor + i) as Address;
const nextOf = (descriptor: Address): Address => (descriptor + PTE_DESC_SPTES) as Address;
