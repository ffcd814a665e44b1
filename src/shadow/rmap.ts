/**
 * Reverse mappings: from a gfn, or from a page-table page, to the SPTEs that map it (kernel: pte_list_add, pte_list_remove,
 * struct kvm_rmap_head in arch/x86/kvm/mmu.c before the TDP MMU).
 *
 * A head holds nothing (0), one SPTE's address, or a descriptor's number with bit 0 set; SPTE addresses are even. All of it
 * is under mmu_lock, the spinlock: this memory and the time under that lock are what the TDP MMU did away with.
 */
import { invariant } from '../machine/invariant.ts';
import type { Memory } from '../machine/memory.ts';
import { type Address, read, type Task, write } from '../machine/point.ts';
import { PTE_DESC_SPTES, type ShadowLayout, ShadowWord } from './shadow-layout.ts';

export class Rmaps {
  readonly memory: Memory;
  readonly layout: ShadowLayout;

  constructor(memory: Memory, layout: ShadowLayout) {
    this.memory = memory;
    this.layout = layout;
  }

  *#load(a: Address): Task<number> {
    return this.memory.load32(yield read(a));
  }

  *#store(a: Address, value: number): Task<void> {
    this.memory.store32(yield write(a), value);
  }

  *#allocDescriptor(): Task<number> {
    const free = yield* this.#load(this.layout.word(ShadowWord.descFree));
    if (free !== 0) {
      const next = yield* this.#load((this.layout.descriptor(free) + PTE_DESC_SPTES) as Address);
      yield* this.#store(this.layout.word(ShadowWord.descFree), next);
      return free;
    }
    const fresh = (yield* this.#load(this.layout.word(ShadowWord.descNext))) + 1;
    invariant(fresh <= this.layout.descriptorCount, 'pte-list-exhausted', `more than ${fresh} pte_list_desc are in use`);
    yield* this.#store(this.layout.word(ShadowWord.descNext), fresh);
    return fresh;
  }

  *#freeDescriptor(index: number): Task<void> {
    const free = yield* this.#load(this.layout.word(ShadowWord.descFree));
    yield* this.#store((this.layout.descriptor(index) + PTE_DESC_SPTES) as Address, free);
    yield* this.#store(this.layout.word(ShadowWord.descFree), index);
  }

  /** Adds `sptep` to the list at `head`. */
  *add(head: Address, sptep: Address): Task<void> {
    const value = yield* this.#load(head);
    if (value === 0) {
      yield* this.#store(head, sptep);
      return;
    }
    let index = value >> 1;
    if ((value & 1) === 0) {
      index = yield* this.#newDescriptor(0);
      yield* this.#store(this.layout.descriptor(index), value);
      yield* this.#store(head, (index << 1) | 1);
    }
    const at = this.layout.descriptor(index);
    for (let i = 0; i < PTE_DESC_SPTES; i++) {
      const slot = (at + i) as Address;
      if ((yield* this.#load(slot)) !== 0) continue;
      yield* this.#store(slot, sptep);
      return;
    }
    const front = yield* this.#newDescriptor(index);
    yield* this.#store(this.layout.descriptor(front), sptep);
    yield* this.#store(head, (front << 1) | 1);
  }

  *#newDescriptor(next: number): Task<number> {
    const index = yield* this.#allocDescriptor();
    const at = this.layout.descriptor(index);
    for (let i = 0; i < PTE_DESC_SPTES; i++) yield* this.#store((at + i) as Address, 0);
    yield* this.#store((at + PTE_DESC_SPTES) as Address, next);
    return index;
  }

  /** Takes `sptep` off the list at `head`; it must be on it. */
  *remove(head: Address, sptep: Address): Task<void> {
    const value = yield* this.#load(head);
    if ((value & 1) === 0) {
      invariant(value === sptep, 'rmap-missing', `SPTE ${sptep} is not in the reverse map at ${head}`);
      yield* this.#store(head, 0);
      return;
    }
    let link = head;
    for (let index = value >> 1; index !== 0; ) {
      const at = this.layout.descriptor(index);
      const found = yield* this.#removeFrom(at, sptep);
      const next = yield* this.#load((at + PTE_DESC_SPTES) as Address);
      if (found >= 0) {
        if (found === 0) {
          yield* this.#store(link, link === head ? (next === 0 ? 0 : (next << 1) | 1) : next);
          yield* this.#freeDescriptor(index);
        }
        return;
      }
      link = (at + PTE_DESC_SPTES) as Address;
      index = next;
    }
    invariant(false, 'rmap-missing', `SPTE ${sptep} is not in the reverse map at ${head}`);
  }

  /** Takes `sptep` out of one descriptor. Returns how many stay in it, or -1 where it was not there. */
  *#removeFrom(at: Address, sptep: Address): Task<number> {
    let left = 0;
    let found = false;
    for (let i = 0; i < PTE_DESC_SPTES; i++) {
      const slot = (at + i) as Address;
      const value = yield* this.#load(slot);
      if (value === sptep) {
        yield* this.#store(slot, 0);
        found = true;
      } else if (value !== 0) {
        left++;
      }
    }
    return found ? left : -1;
  }

  /** All SPTE addresses of the list at `head`, as they are now. */
  *list(head: Address): Task<Address[]> {
    const value = yield* this.#load(head);
    if (value === 0) return [];
    if ((value & 1) === 0) return [value as Address];
    const all: Address[] = [];
    for (let index = value >> 1; index !== 0; ) {
      const at = this.layout.descriptor(index);
      for (let i = 0; i < PTE_DESC_SPTES; i++) {
        const sptep = yield* this.#load((at + i) as Address);
        if (sptep !== 0) all.push(sptep as Address);
      }
      index = yield* this.#load((at + PTE_DESC_SPTES) as Address);
    }
    return all;
  }
}
