/**
 * The reverse maps of a memslot: an array of heads for each page size, for the rmap-based MMU (kernel: memslot_rmap_alloc and
 * memslot_rmap_free in arch/x86/kvm/x86.c; kvm_arch_create_memslot before them).
 */
import { invariant } from '../machine/invariant.ts';
import { type Address, own, type Task } from '../machine/point.ts';
import { type Level, MAX_HUGEPAGE_LEVEL, PG_LEVEL_4K } from '../mmu/level.ts';
import type { Memslot } from '../mmu/memslot.ts';
import { rmapHeads } from '../shadow/drop-spte.ts';
import { RMAP_HEAD_WORDS } from '../shadow/shadow-layout.ts';
import { heapAlloc, heapFree } from './heap.ts';
import type { Vm } from './vm.ts';

/** The page sizes that have reverse maps (KVM_NR_PAGE_SIZES of them). */
export const RMAP_LEVELS: readonly Level[] = Array.from({ length: MAX_HUGEPAGE_LEVEL }, (_, i) => PG_LEVEL_4K + i);

/** 32-bit words of an array of `heads` heads. */
export const rmapArrayWords = (heads: number): number => RMAP_HEAD_WORDS * heads;

/** Heads of a slot of `pages` pages at `level`, wherever it begins. */
export const rmapHeadsAtMost = (config: { readonly entries: number }, pages: number, level: Level): number =>
  Math.ceil(pages / config.entries ** (level - 1)) + 1;

/** Empty reverse maps for `slot`, by level; null where there is no memory. */
export function* allocSlotRmaps(vm: Vm, slot: Memslot): Task<readonly Address[] | null> {
  const rmaps: Address[] = [0 as Address];
  for (const level of RMAP_LEVELS) {
    const array = yield* heapAlloc(vm.space.heap, vm.thread, rmapArrayWords(rmapHeads(vm.kvm, slot, level)));
    if (array === 0) {
      yield* freeArrays(vm, slot, rmaps);
      return null;
    }
    rmaps[level] = array;
  }
  return rmaps;
}

/**
 * Frees the reverse maps of `slot`, which nobody can find any more. Errors: rmap-not-empty, where something still maps the slot.
 */
export function* freeSlotRmaps(vm: Vm, slot: Memslot): Task<void> {
  const { rmaps = [] } = slot;
  for (const level of RMAP_LEVELS) {
    const heads = rmapHeads(vm.kvm, slot, level);
    for (let i = 0; i < heads; i++) {
      const value = vm.memory.load32(own((rmaps[level] + RMAP_HEAD_WORDS * i) as Address));
      invariant(value === 0, 'rmap-not-empty', `page ${i} of memslot ${slot.id} is still mapped at level ${level}: ${value}`);
    }
  }
  yield* freeArrays(vm, slot, rmaps);
}

function* freeArrays(vm: Vm, slot: Memslot, rmaps: readonly Address[]): Task<void> {
  for (let level = PG_LEVEL_4K; level < rmaps.length; level++) {
    yield* heapFree(vm.space.heap, vm.thread, rmaps[level], rmapArrayWords(rmapHeads(vm.kvm, slot, level)));
  }
}
