/**
 * Entries of the host's page tables, with what the model keeps beside the hardware's bits.
 *
 * A word is either the address of a table of entries (a multiple of 16, above 0), or an entry. An entry in the directory
 * stands for all pages of its range: one huge page, or as many 4K pages in the same state. The word 0 is the entry of pages
 * that were never touched.
 *
 * VMAs are not kept apart: their flags stand in the entries of their pages, present or not, and neighbours with equal flags
 * are one VMA, as the kernel would have merged them.
 */
import type { Address } from '../machine/point.ts';

export const HostPte = {
  /** Tells an entry from an address; the entry 0 goes without. */
  entry: 1,
  present: 2,
  /** Maps the shared zero page, 4K or huge, which nobody may write. */
  zero: 4,
  /** The VMA is read-only (mprotect). */
  readonly: 8,
  /** There is no VMA (munmap). */
  unmapped: 16,
  /** One huge page. */
  huge: 32,
  /** The VMA's huge-page advice is not the one that its region began with. */
  advice: 64,
  /** Writable by its VMA, but not yet in the page table: hugetlbfs pages that were only read so far. */
  writeProtected: 128,
} as const;

/** Flags that belong to the VMA. */
export const VMA_FLAGS = HostPte.readonly | HostPte.unmapped | HostPte.advice;

const GENERATION_SHIFT = 8;
const GENERATION_MASK = 0xff_ffff;

/** Whether `word` is the address of a table. */
export const isTable = (word: number): boolean => word !== 0 && (word & HostPte.entry) === 0;
export const asTable = (word: number): Address => word as Address;

export const isPresent = (pte: number): boolean => (pte & HostPte.present) !== 0;
export const isZeroPage = (pte: number): boolean => (pte & HostPte.zero) !== 0;
export const isHuge = (pte: number): boolean => (pte & HostPte.huge) !== 0;

/** Whether the host maps the page for writing. */
export function isWritable(pte: number): boolean {
  return (pte & (HostPte.present | HostPte.zero | HostPte.readonly | HostPte.writeProtected)) === HostPte.present;
}

/** Which of the page's frames it maps or, not present, will map. */
export const generationOf = (pte: number): number => pte >>> GENERATION_SHIFT;

export const vmaFlags = (pte: number): number => pte & VMA_FLAGS;

/** An entry with `flags` and `generation`. */
export function makePte(flags: number, generation: number): number {
  return flags | HostPte.entry | ((generation & GENERATION_MASK) << GENERATION_SHIFT);
}

/** The entry after its page is gone: another frame comes next, unless it was only the zero page. */
export function droppedPte(pte: number): number {
  if (!isPresent(pte)) return pte;
  return makePte(vmaFlags(pte), isZeroPage(pte) ? generationOf(pte) : generationOf(pte) + 1);
}

/** The entry with the VMA flags `flags` instead of its own. */
export function withVmaFlags(pte: number, flags: number): number {
  return makePte((pte & ~VMA_FLAGS & 0xff) | flags, generationOf(pte));
}
