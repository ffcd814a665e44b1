/**
 * Where the guests of the selftests have their memory (kernel: memstress_create_vm in lib/memstress.c, vm_compute_max_gfn in
 * lib/kvm_util.c): test memory at the top of the guest-physical address space, code and stacks in slot 0 from gfn 0 on.
 */
import { MEMSLOT_MAX_PAGES } from '../../vm/set-memory-region.ts';
import { PAGE_BYTES } from '../size.ts';
import type { WorkloadOptions } from '../workload.ts';

/** Slot 0: the code, the stacks and the page tables of the guest, about as much as the selftests have. */
export const CODE_SLOT = 0;
export const CODE_PAGES = 1024;
export const CODE_REGION = 0;
/** The first slot of test memory. */
export const TEST_SLOT = 1;
export const TEST_REGION = 1;

/** Kinds of memory that the selftests' -s knows, as far as x86 has them, and what they are to the host. */
export const BACKINGS = {
  anonymous: { type: '4k', unit: 1 },
  anonymous_thp: { type: 'thp', unit: 512 },
  anonymous_hugetlb: { type: '2m', unit: 512 },
  anonymous_hugetlb_2mb: { type: '2m', unit: 512 },
  anonymous_hugetlb_1gb: { type: '1g', unit: 512 * 512 },
  shmem: { type: '4k', unit: 1 },
  shared_hugetlb: { type: '2m', unit: 512 },
} as const;

export type BackingName = keyof typeof BACKINGS;
export const BACKING_NAMES = Object.keys(BACKINGS) as BackingName[];

/** The first gfn that a guest of 2^40 bytes does not have: the last 12 GiB are AMD's, for HyperTransport. */
const MAX_GFN_40 = 0xfd_00000;
/** The last page of the address space is left alone, as the selftests do. */
const lastGfn = (maxGfn: number): number => maxGfn - 1;

export interface MemstressLayout {
  /** First gfn that the guest does not have. */
  readonly maxGfn: number;
  /** First gfn of test memory. */
  readonly baseGfn: number;
  /** Pages of test memory. */
  readonly pages: number;
  readonly pagesPerVcpu: number;
  /** Test memory is cut into so many slots of equal size. */
  readonly slots: number;
  readonly pagesPerSlot: number;
}

/**
 * From the options `vcpus`, `bytesPerVcpu`, `backing` and `slots`. Test memory is a multiple of the huge page; what is more than a
 * memslot may have is cut into more of them than was asked for.
 */
export function memstressLayout(options: WorkloadOptions): MemstressLayout {
  const vcpus = options.vcpus as number;
  const { unit } = BACKINGS[options.backing as BackingName];
  const pagesPerVcpu = (options.bytesPerVcpu as number) / PAGE_BYTES;
  const pages = Math.ceil((pagesPerVcpu * vcpus) / unit) * unit;
  let slots = (options.slots as number | undefined) ?? 1;
  while (pages / slots > MEMSLOT_MAX_PAGES) slots *= 2;
  const place = (maxGfn: number): number => Math.floor((lastGfn(maxGfn) - pages - 1) / unit) * unit;
  let maxGfn = MAX_GFN_40;
  // Beside test memory and below it there is room for a slot of a test, and for the code.
  while (place(maxGfn) < 2 * unit + CODE_PAGES) maxGfn = 2 ** (Math.floor(Math.log2(maxGfn)) + 1);
  return { maxGfn, baseGfn: place(maxGfn), pages, pagesPerVcpu, slots, pagesPerSlot: pages / slots };
}

/** The pages that vCPU `index` works on: its own share, or all of them. */
export function vcpuPages(layout: MemstressLayout, options: WorkloadOptions, index: number): { first: number; count: number } {
  if (options.overlap === true) return { first: layout.baseGfn, count: layout.pagesPerVcpu * (options.vcpus as number) };
  return { first: layout.baseGfn + index * layout.pagesPerVcpu, count: layout.pagesPerVcpu };
}
