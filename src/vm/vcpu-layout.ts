/**
 * A vCPU's area of the arena: what its processor keeps (TLB, paging-structure cache, page-modification log) and the few words
 * of its state that others may read.
 *
 * All of it has one writer, the vCPU, and is no scheduling point: nobody decides anything by it while the vCPU runs. It lies
 * in the arena so that oracles can read it when nobody runs.
 */
import { LINE_WORDS } from '../machine/arena.ts';
import type { Address } from '../machine/point.ts';

export interface VcpuAreaConfig {
  /** Translations that the TLB holds; a power of two. */
  readonly tlbEntries: number;
  /** Last-level tables that the paging-structure cache holds; a power of two. */
  readonly pwcEntries: number;
  /** gfns that the page-modification log holds: 512 in hardware. */
  readonly pmlEntries: number;
}

export const VCPU_AREA_DEFAULTS: VcpuAreaConfig = { tlbEntries: 64, pwcEntries: 16, pmlEntries: 512 };

/** Words of the area's head. */
export const VcpuWord = {
  /** The root page in use (CR3 or EPTP), 0 for none. */
  root: 0,
  /** gfns in the page-modification log. */
  pmlCount: 1,
  /** Times the vCPU left the guest, modulo 2^32: what a watchdog looks at. */
  exits: 2,
  /** TLB flushes of all kinds, modulo 2^32. */
  flushes: 3,
  /** The gfn that faulted last: low and high half. */
  faultGfn: 4,
} as const;

/** Words of a TLB entry: see `tlb.ts`. */
export const TLB_ENTRY_WORDS = 4;
/** Words of an entry of the paging-structure cache: see `paging-structure-cache.ts`. */
export const PWC_ENTRY_WORDS = 4;
/** Words of a logged gfn: low and high half. */
export const PML_ENTRY_WORDS = 2;

const lines = (words: number): number => Math.ceil(words / LINE_WORDS) * LINE_WORDS;

/** Words of one vCPU's area. */
export function vcpuAreaWords(config: VcpuAreaConfig): number {
  const { tlbEntries, pwcEntries, pmlEntries } = config;
  return (
    LINE_WORDS + lines(tlbEntries * TLB_ENTRY_WORDS) + lines(pwcEntries * PWC_ENTRY_WORDS) + lines(pmlEntries * PML_ENTRY_WORDS)
  );
}

/** Where the parts of an area are. */
export class VcpuArea {
  readonly config: VcpuAreaConfig;
  readonly base: Address;
  readonly tlb: Address;
  readonly pwc: Address;
  readonly pml: Address;

  /** `base`: the first of {@link vcpuAreaWords} words, all 0 at the start. Errors: a size that is no power of two. */
  constructor(base: Address, config: VcpuAreaConfig) {
    checkPowerOfTwo(config.tlbEntries, 'tlbEntries');
    checkPowerOfTwo(config.pwcEntries, 'pwcEntries');
    this.config = config;
    this.base = base;
    this.tlb = (base + LINE_WORDS) as Address;
    this.pwc = (this.tlb + lines(config.tlbEntries * TLB_ENTRY_WORDS)) as Address;
    this.pml = (this.pwc + lines(config.pwcEntries * PWC_ENTRY_WORDS)) as Address;
  }

  /** Address of a word of {@link VcpuWord}. */
  word(index: number): Address {
    return (this.base + index) as Address;
  }
}

function checkPowerOfTwo(n: number, name: string): void {
  if (!Number.isInteger(Math.log2(n))) throw new RangeError(`${name}: ${n} is no power of two`);
}
