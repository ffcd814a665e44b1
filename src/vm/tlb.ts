/**
 * A vCPU's TLB for guest-physical addresses: what the processor caches of the tables that KVM builds (Intel SDM volume 3,
 * "Caching Translation Information"; AMD APM volume 2, nested paging).
 *
 * Direct-mapped, for pages of all sizes. An entry is tagged with the root that it was made under, as EPT's are with EP4TA,
 * and stays until it is replaced or flushed, whatever happens to the tables: a missing flush must be able to hurt. Only the
 * vCPU touches it, and it is searched at every guest access: nothing here allocates, and no access is a scheduling point.
 *
 * An entry is four words: number of the page at the entry's level, low half; root (from bit 12), level (from bit 8) and the
 * number's bits 32-39; PFN, low half; rights (from bit 20) and the PFN's bits 32-51. Root 0 means an empty entry.
 */
import type { Memory } from '../machine/memory.ts';
import { type Address, own } from '../machine/point.ts';
import { asGfn, asPfn, type Geometry, type Gfn, type Level, MAX_HUGEPAGE_LEVEL, type Pfn, PG_LEVEL_4K } from '../mmu/level.ts';
import { TLB_ENTRY_WORDS, type VcpuArea } from './vcpu-layout.ts';

/** What a cached translation allows; `dirty` means that the dirty bit needs no setting any more. */
export const TlbRight = { read: 1, write: 2, exec: 4, dirty: 8 } as const;

const RIGHTS_SHIFT = 20;
const PFN_HIGH_MASK = (1 << RIGHTS_SHIFT) - 1;
const LEVEL_SHIFT = 8;
const ROOT_SHIFT = 12;
const TWO_32 = 2 ** 32;

/** Bits 32 and up of a number below 2^52. */
const high = (n: number): number => (n < TWO_32 ? 0 : Math.floor(n / TWO_32));

export class Tlb {
  readonly memory: Memory;
  readonly geometry: Geometry;
  readonly base: Address;
  readonly entries: number;
  /** `1 / span` by level: exact, and cheaper than a division. */
  readonly #inverse: Float64Array;
  /** The tag of the root in use, in its place of an entry's second word. */
  #root = 0;
  /** Bit L: an entry of level L was made since the last flush. Sizes that nobody uses cost no look. */
  #levels = 0;

  constructor(memory: Memory, geometry: Geometry, area: VcpuArea) {
    this.memory = memory;
    this.geometry = geometry;
    this.base = area.tlb;
    this.entries = area.config.tlbEntries;
    this.#inverse = Float64Array.from(geometry.spans, (span) => 1 / span);
  }

  /** Tags what is cached from now on with `root`; translations of other roots are not found any more. */
  setRoot(root: number): void {
    this.#root = root << ROOT_SHIFT;
  }

  /** The entry that translates `gfn` with all of `rights`, or 0. */
  find(gfn: Gfn, rights: number): Address {
    const levels = this.#levels;
    if ((levels & (1 << PG_LEVEL_4K)) !== 0) {
      const entry = this.#match(gfn, PG_LEVEL_4K, rights);
      if (entry !== 0) return entry;
    }
    for (let level = PG_LEVEL_4K + 1; levels >>> level !== 0; level++) {
      if ((levels & (1 << level)) === 0) continue;
      const entry = this.#match(Math.floor(gfn * this.#inverse[level]), level, rights);
      if (entry !== 0) return entry;
    }
    return 0 as Address;
  }

  /** The entry of page number `page` at `level`, or 0. */
  #match(page: number, level: Level, rights: number): Address {
    const { memory } = this;
    const low = page | 0;
    const entry = (this.base + (low & (this.entries - 1)) * TLB_ENTRY_WORDS) as Address;
    if (memory.load32(own(entry)) !== low) return 0 as Address;
    if (memory.load32(own((entry + 1) as Address)) !== (this.#root | (level << LEVEL_SHIFT) | high(page))) return 0 as Address;
    return ((memory.load32(own((entry + 3) as Address)) >>> RIGHTS_SHIFT) & rights) === rights ? entry : (0 as Address);
  }

  /** The frame that `entry`, just found, gives `gfn`. */
  frame(entry: Address, gfn: Gfn): Pfn {
    const { memory } = this;
    const level = (memory.load32(own((entry + 1) as Address)) >>> LEVEL_SHIFT) & 15;
    const pfnHigh = memory.load32(own((entry + 3) as Address)) & PFN_HIGH_MASK;
    const pfn = pfnHigh * TWO_32 + (memory.load32(own((entry + 2) as Address)) >>> 0);
    if (level === PG_LEVEL_4K) return asPfn(pfn);
    return asPfn(pfn + (gfn - this.geometry.round(gfn, level)));
  }

  /** Caches that the page of `level` around `gfn` begins at frame `pfn`; returns the entry. */
  insert(gfn: Gfn, level: Level, pfn: Pfn, rights: number): Address {
    const { memory } = this;
    const page = level === PG_LEVEL_4K ? gfn : Math.floor(gfn * this.#inverse[level]);
    const entry = (this.base + ((page | 0) & (this.entries - 1)) * TLB_ENTRY_WORDS) as Address;
    memory.store32(own(entry), page | 0);
    memory.store32(own((entry + 1) as Address), this.#root | (level << LEVEL_SHIFT) | high(page));
    memory.store32(own((entry + 2) as Address), pfn | 0);
    memory.store32(own((entry + 3) as Address), (rights << RIGHTS_SHIFT) | high(pfn));
    this.#levels |= 1 << level;
    return entry;
  }

  /** Forgets what translates `gfn`, as the processor does when an access to it faults. */
  invalidate(gfn: Gfn): void {
    for (let level = PG_LEVEL_4K; level <= MAX_HUGEPAGE_LEVEL; level++) {
      if ((this.#levels & (1 << level)) === 0) continue;
      const entry = this.#match(Math.floor(gfn * this.#inverse[level]), level, 0);
      if (entry !== 0) this.memory.store32(own((entry + 1) as Address), 0);
    }
  }

  /** What the TLB knows beside the arena: the tag in use, and which levels may have entries. */
  saveState(): readonly [number, number] {
    return [this.#root, this.#levels];
  }

  restoreState([root, levels]: readonly [number, number]): void {
    this.#root = root;
    this.#levels = levels;
  }

  /** Forgets everything. */
  flush(): void {
    if (this.#levels !== 0) this.reset();
  }

  /** Forgets what translates a page of [first, end). */
  flushRange(first: number, end: number): void {
    const { memory } = this;
    for (let i = 0; i < this.entries; i++) {
      const entry = (this.base + i * TLB_ENTRY_WORDS) as Address;
      const tag = memory.load32(own((entry + 1) as Address));
      if (tag === 0) continue;
      const span = this.geometry.span((tag >>> LEVEL_SHIFT) & 15);
      const gfn = ((tag & 0xff) * TWO_32 + (memory.load32(own(entry)) >>> 0)) * span;
      if (gfn < end && gfn + span > first) memory.store32(own((entry + 1) as Address), 0);
    }
  }

  /** Forgets everything, what an earlier user of the area left there included. */
  reset(): void {
    this.memory.fill32(own(this.base), 0, this.entries * TLB_ENTRY_WORDS);
    this.#levels = 0;
  }
}

/** A cached translation, decoded for oracles and reports. */
export interface TlbEntry {
  /** The root page that it was made under. */
  readonly root: number;
  readonly level: Level;
  /** First gfn and first frame of the page. */
  readonly gfn: Gfn;
  readonly pfn: Pfn;
  readonly writable: boolean;
  readonly executable: boolean;
  /** Writes through it leave the SPTE's dirty bit alone. */
  readonly dirty: boolean;
}

/** What the TLB in `area` holds, roots that are no longer in use included. For oracles, while the vCPU does not run. */
export function tlbEntries(memory: Memory, geometry: Geometry, area: VcpuArea): TlbEntry[] {
  const found: TlbEntry[] = [];
  const end = area.tlb + area.config.tlbEntries * TLB_ENTRY_WORDS;
  for (let entry: number = area.tlb; entry < end; entry += TLB_ENTRY_WORDS) {
    const word = (index: number): number => memory.load32(own((entry + index) as Address));
    const tag = word(1);
    if (tag === 0) continue;
    const level = (tag >>> LEVEL_SHIFT) & 15;
    const page = (tag & 0xff) * TWO_32 + (word(0) >>> 0);
    const rights = word(3) >>> RIGHTS_SHIFT;
    found.push({
      root: tag >>> ROOT_SHIFT,
      level,
      gfn: asGfn(page * geometry.span(level)),
      pfn: asPfn((word(3) & PFN_HIGH_MASK) * TWO_32 + (word(2) >>> 0)),
      writable: (rights & TlbRight.write) !== 0,
      executable: (rights & TlbRight.exec) !== 0,
      dirty: (rights & TlbRight.dirty) !== 0,
    });
  }
  return found;
}
