/**
 * Where the guest of max_guest_memory_test has its memory: slots of equal size from 4G on, all of which show the same stretch of
 * the host's memory, so that a guest of any size costs the host one slot's memory (kernel:
 * tools/testing/selftests/kvm/max_guest_memory_test.c).
 */
import { PAGE_BYTES } from '../size.ts';
import type { WorkloadOptions } from '../workload.ts';
import { BACKINGS, type BackingName } from './memstress-layout.ts';

/** 4G: below it the selftest has its code. */
const FIRST_GFN = 2 ** 20;

/** The region that all slots show. */
export const SHARED_REGION = 0;
/** The first slot's number. */
export const FIRST_SLOT = 1;

export interface MaxMemoryLayout {
  readonly baseGfn: number;
  /** Pages of the guest, and of each of its slots. */
  readonly pages: number;
  readonly slots: number;
  readonly pagesPerSlot: number;
  /** Pages of a huge page of the backing; 1 for 4K. */
  readonly unit: number;
  /** Pages from one access to the next. */
  readonly stride: number;
  /** Accesses of one pass of all vCPUs together. */
  readonly touches: number;
}

/** From the options `size`, `slots`, `backing` and `stride` (0: a page of the backing). */
export function maxMemoryLayout(options: WorkloadOptions): MaxMemoryLayout {
  const pages = (options.size as number) / PAGE_BYTES;
  const slots = options.slots as number;
  const { unit } = BACKINGS[options.backing as BackingName];
  const stride = options.strideBytes === 0 ? unit : (options.strideBytes as number) / PAGE_BYTES;
  return { baseGfn: FIRST_GFN, pages, slots, pagesPerSlot: pages / slots, unit, stride, touches: Math.ceil(pages / stride) };
}

/** The accesses of vCPU `index` among those of a pass: [first, end). */
export function vcpuTouches(layout: MaxMemoryLayout, vcpus: number, index: number): { first: number; end: number } {
  const at = (i: number): number => Math.floor((layout.touches * i) / vcpus);
  return { first: at(index), end: at(index + 1) };
}
