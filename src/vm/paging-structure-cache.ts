/**
 * The paging-structure cache: which last-level table maps a region, so that a walk can skip the upper levels (Intel SDM
 * volume 3, "Paging-Structure Caches"; AMD calls it the page walk cache).
 *
 * It is what makes freeing a page table too early dangerous: until the next flush the processor reads, and sets bits in,
 * a table that nothing links any more. As the TLB it is the vCPU's alone and tagged with the root.
 *
 * An entry is four words: number of the region, low half; root (from bit 12) and the number's bits 32-39; page of the table;
 * one unused.
 */
import type { Memory } from '../machine/memory.ts';
import { type Address, own } from '../machine/point.ts';
import { asGfn, type Geometry, type Gfn, PG_LEVEL_2M } from '../mmu/level.ts';
import { PWC_ENTRY_WORDS, type VcpuArea } from './vcpu-layout.ts';

const ROOT_SHIFT = 12;
const TWO_32 = 2 ** 32;

export class PagingStructureCache {
  readonly memory: Memory;
  readonly base: Address;
  readonly entries: number;
  /** One by the pages that a last-level table maps: exact, and cheaper than a division. */
  readonly #inverse: number;
  #root = 0;
  #empty = true;

  constructor(memory: Memory, geometry: Geometry, area: VcpuArea) {
    this.memory = memory;
    this.#inverse = 1 / geometry.span(PG_LEVEL_2M);
    this.base = area.pwc;
    this.entries = area.config.pwcEntries;
  }

  setRoot(root: number): void {
    this.#root = root << ROOT_SHIFT;
  }

  /** The page of the last-level table for `gfn`, or 0. */
  find(gfn: Gfn): number {
    const { memory } = this;
    const region = Math.floor(gfn * this.#inverse);
    const entry = this.#place(region);
    if (memory.load32(own(entry)) !== (region | 0)) return 0;
    if (memory.load32(own((entry + 1) as Address)) !== this.#tag(region)) return 0;
    return memory.load32(own((entry + 2) as Address));
  }

  insert(gfn: Gfn, table: number): void {
    const { memory } = this;
    const region = Math.floor(gfn * this.#inverse);
    const entry = this.#place(region);
    memory.store32(own(entry), region | 0);
    memory.store32(own((entry + 1) as Address), this.#tag(region));
    memory.store32(own((entry + 2) as Address), table);
    this.#empty = false;
  }

  /** Forgets the table for `gfn`, as the processor does when an access to it faults. */
  invalidate(gfn: Gfn): void {
    if (!this.#empty && this.find(gfn) !== 0) {
      this.memory.store32(own((this.#place(Math.floor(gfn * this.#inverse)) + 1) as Address), 0);
    }
  }

  /** What the cache knows beside the arena: the tag in use, and whether it is empty. */
  saveState(): readonly [number, boolean] {
    return [this.#root, this.#empty];
  }

  restoreState([root, empty]: readonly [number, boolean]): void {
    this.#root = root;
    this.#empty = empty;
  }

  /** Forgets everything. */
  flush(): void {
    if (!this.#empty) this.reset();
  }

  /** Forgets everything, what an earlier user of the area left there included. */
  reset(): void {
    this.memory.fill32(own(this.base), 0, this.entries * PWC_ENTRY_WORDS);
    this.#empty = true;
  }

  /** Forgets the tables of regions that lie in [first, end), in whole or in part. */
  flushRange(first: number, end: number): void {
    for (let region = Math.floor(first * this.#inverse); region < end * this.#inverse; region++) {
      this.invalidate(asGfn(region / this.#inverse));
    }
  }

  #place(region: number): Address {
    return (this.base + ((region | 0) & (this.entries - 1)) * PWC_ENTRY_WORDS) as Address;
  }

  #tag(region: number): number {
    return this.#root | (region < TWO_32 ? 0 : Math.floor(region / TWO_32));
  }
}

/** A cached table, decoded for oracles and reports. */
export interface PwcEntry {
  readonly root: number;
  /** First gfn that the table maps. */
  readonly gfn: Gfn;
  readonly table: number;
}

/** What the cache in `area` holds. For oracles, while the vCPU does not run. */
export function pwcEntries(memory: Memory, geometry: Geometry, area: VcpuArea): PwcEntry[] {
  const found: PwcEntry[] = [];
  const end = area.pwc + area.config.pwcEntries * PWC_ENTRY_WORDS;
  for (let entry: number = area.pwc; entry < end; entry += PWC_ENTRY_WORDS) {
    const word = (index: number): number => memory.load32(own((entry + index) as Address));
    if (word(1) === 0) continue;
    const region = (word(1) & 0xff) * TWO_32 + (word(0) >>> 0);
    found.push({ root: word(1) >>> ROOT_SHIFT, gfn: asGfn(region * geometry.span(PG_LEVEL_2M)), table: word(2) });
  }
  return found;
}
