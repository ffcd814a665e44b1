/** Shared words of the rmap-based MMU: hash of pages, list of active pages, and the chains of reverse mappings. */
import type { ArenaLayout } from '../machine/arena.ts';
import type { Address } from '../machine/point.ts';

/** Buckets of the page hash: a power of two (kernel: KVM_NUM_MMU_PAGES hashed by gfn). */
export const HASH_BUCKETS = 4096;
/** Words of one `struct pte_list_desc`: three SPTE addresses, and the next descriptor. */
export const PTE_DESC_WORDS = 4;
export const PTE_DESC_SPTES = 3;
/** Words of one `struct kvm_rmap_head`: 8 bytes, as in the kernel. */
export const RMAP_HEAD_WORDS = 2;

/** Words of the layout's state block. */
export const ShadowWord = {
  /** First and last page of active_mmu_pages. */
  activeHead: 0,
  activeTail: 2,
  /** Free list of descriptors, and the first one never used. */
  descFree: 4,
  descNext: 6,
} as const;

/** Words of a page's header that mean something else here than in the TDP MMU, counted from its descriptor. */
export const ShadowHeader = {
  /** Head of the list of parent SPTEs (sp->parent_ptes). */
  parents: 5,
  hashNext: 9,
  /** mmu_valid_gen as it was when the page was made. */
  validGen: 13,
  activeNext: 14,
  activePrev: 15,
} as const;

export class ShadowLayout {
  readonly state: Address;
  readonly hash: Address;
  readonly descriptors: Address;
  readonly descriptorCount: number;

  constructor(arena: ArenaLayout, descriptorCount: number) {
    this.descriptorCount = descriptorCount;
    this.state = arena.reserve('shadow mmu', 16);
    this.hash = arena.reserve('mmu_page_hash', HASH_BUCKETS);
    this.descriptors = arena.reserve('pte_list_desc', PTE_DESC_WORDS * (descriptorCount + 1));
  }

  word(index: number): Address {
    return (this.state + index) as Address;
  }

  descriptor(index: number): Address {
    return (this.descriptors + PTE_DESC_WORDS * index) as Address;
  }
}
