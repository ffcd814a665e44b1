/**
 * Shared words of the rmap-based MMU: hash of pages, list of active pages, and the descriptors of reverse mappings (kernel:
 * mmu_page_hash, active_mmu_pages and the slab of struct pte_list_desc in 5.4).
 */
import type { ArenaLayout } from '../machine/arena.ts';
import type { Address } from '../machine/point.ts';

/** Buckets of the page hash: a power of two (1 << KVM_MMU_HASH_SHIFT, 12 since 4.11). */
export const HASH_BUCKETS = 4096;
/** Words of one `struct pte_list_desc`: three SPTE addresses (PTE_LIST_EXT), and the next descriptor. */
export const PTE_DESC_WORDS = 4;
export const PTE_DESC_SPTES = 3;
/** Words of one `struct kvm_rmap_head`: 8 bytes, as in the kernel. */
export const RMAP_HEAD_WORDS = 2;
/** Bytes of a `struct pte_list_desc` of a 64-bit kernel, which has full pointers: for reports. */
export const PTE_DESC_BYTES = 32;
/** Bytes of a `struct kvm_rmap_head`. */
export const RMAP_HEAD_BYTES = 8;

/** Words of the layout's state block. All are under mmu_lock. */
export const ShadowWord = {
  /** First and last page of active_mmu_pages. */
  activeHead: 0,
  activeTail: 2,
  /** Free list of descriptors, the last one that was ever used, and how many are in use. */
  descFree: 4,
  descNext: 6,
  descUsed: 8,
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
  /** Buckets of the page hash. */
  readonly buckets: number;

  /** @param descriptorCount how many `pte_list_desc` there are: each SPTE of a list with more than one may need one */
  constructor(arena: ArenaLayout, descriptorCount: number, buckets: number) {
    this.descriptorCount = descriptorCount;
    this.buckets = buckets;
    this.state = arena.reserve('shadow mmu', 16);
    this.hash = arena.reserve('mmu_page_hash', buckets);
    this.descriptors = arena.reserve('pte_list_desc', PTE_DESC_WORDS * (descriptorCount + 1));
  }

  word(index: number): Address {
    return (this.state + index) as Address;
  }

  /** Descriptors count from 1: number 0 ends a chain. */
  descriptor(index: number): Address {
    return (this.descriptors + PTE_DESC_WORDS * index) as Address;
  }
}
