/**
 * Page-table geometry (kernel: arch/x86/kvm/mmu/spte.h, SPTE_LEVEL_BITS and friends).
 *
 * Levels count from the leaf: 1 maps 4K, 2 maps 2M, 3 maps 1G, 4 and 5 are upper tables. The number of entries a table has
 * is a parameter of the VM: 512 as in hardware, or as few as 4 where every interleaving is to be explored.
 */

declare const gfnBrand: unique symbol;
/** Guest frame number: guest physical address divided by 4096. Up to 2^40, so no bit operation may touch one. */
export type Gfn = number & { readonly [gfnBrand]: true };

declare const pfnBrand: unique symbol;
/** Host page frame number. Below 2^20 it names a page-table page, from there on a page of guest memory. */
export type Pfn = number & { readonly [pfnBrand]: true };

/** Level of a page-table entry: 1 (4K) to 5. */
export type Level = number;

export const PG_LEVEL_4K = 1;
export const PG_LEVEL_2M = 2;
export const PG_LEVEL_1G = 3;
/** KVM_MAX_HUGEPAGE_LEVEL. */
export const MAX_HUGEPAGE_LEVEL = PG_LEVEL_1G;

export const asGfn = (n: number): Gfn => n as Gfn;
export const asPfn = (n: number): Pfn => n as Pfn;

export class Geometry {
  /** Entries of a table; a power of two. */
  readonly entries: number;
  /** Levels of a root: 4 or 5. */
  readonly rootLevel: Level;
  /** `spans[level]`: pages (4K) that one entry at that level maps (KVM_PAGES_PER_HPAGE). */
  readonly spans: readonly number[];
  /** First gfn that the tables cannot map (tdp_mmu_max_gfn_exclusive). */
  readonly maxGfn: Gfn;
  /** `1 / spans[level]`, exact: spans are powers of two. */
  readonly #inverse: Float64Array;
  readonly #span: Float64Array;

  constructor(options: { readonly entries: number; readonly rootLevel: Level; readonly maxGfn: number }) {
    this.entries = options.entries;
    this.rootLevel = options.rootLevel;
    this.#span = new Float64Array(options.rootLevel + 2);
    this.#inverse = new Float64Array(options.rootLevel + 2);
    for (let level = 1; level < this.#span.length; level++) {
      this.#span[level] = options.entries ** (level - 1);
      this.#inverse[level] = 1 / this.#span[level];
    }
    this.#span[0] = this.#inverse[0] = Number.NaN;
    this.spans = Array.from(this.#span);
    this.maxGfn = Math.min(options.maxGfn, options.entries ** options.rootLevel) as Gfn;
  }

  /** Pages mapped by one entry at `level`. */
  span(level: Level): number {
    return this.#span[level];
  }

  /** Index within its table of the entry at `level` that maps `gfn`. The conversion to 32 bits keeps the low ones: exact. */
  index(gfn: Gfn, level: Level): number {
    return ((gfn * this.#inverse[level]) | 0) & (this.entries - 1);
  }

  /** `gfn` rounded down to what one entry at `level` maps (gfn_round_for_level). */
  round(gfn: Gfn, level: Level): Gfn {
    return (Math.floor(gfn * this.#inverse[level]) * this.#span[level]) as Gfn;
  }

  /** Whether `n` is a multiple of the span at `level`. */
  aligned(n: number, level: Level): boolean {
    return n * this.#inverse[level] === Math.floor(n * this.#inverse[level]);
  }
}
