/**
 * Dirty bitmaps: a bit a page of the slot, in two halves; the second is scratch for GET and CLEAR (kernel:
 * kvm_alloc_dirty_bitmap, kvm_second_dirty_bitmap in virt/kvm/kvm_main.c).
 */
import { Cost } from '../machine/cost.ts';
import { type Address, own, spend, type Task } from '../machine/point.ts';
import type { Memslot } from '../mmu/memslot.ts';
import { heapAlloc, heapFree } from './heap.ts';
import type { Vm } from './vm.ts';

/** 32-bit words of a page of kernel memory. */
const PAGE_WORDS = 1024;

/** 32-bit words of one half: whole 64-bit words. */
export const dirtyBitmapWords = (pages: number): number => 2 * Math.ceil(pages / 64);

/** A bitmap for `slot`, clear or with a bit for each page; 0 where there is no memory. */
export function* allocDirtyBitmap(vm: Vm, slot: Memslot, allSet: boolean): Task<Address> {
  const bitmap = yield* heapAlloc(vm.space.heap, vm.thread, 2 * slot.bitmapWords);
  if (bitmap !== 0) yield spend(Cost.kernelPage, Math.ceil((2 * slot.bitmapWords) / PAGE_WORDS));
  if (bitmap !== 0 && allSet) {
    const full = Math.floor(slot.npages / 32);
    vm.memory.fill32(own(bitmap), -1, full);
    const rest = slot.npages % 32;
    if (rest !== 0) vm.memory.store32(own((bitmap + full) as Address), 2 ** rest - 1);
  }
  return bitmap;
}

/** Frees the bitmap of `slot`, which nobody can find any more. */
export function* freeDirtyBitmap(vm: Vm, slot: Memslot): Task<void> {
  yield* heapFree(vm.space.heap, vm.thread, slot.dirtyBitmap, 2 * slot.bitmapWords);
}
