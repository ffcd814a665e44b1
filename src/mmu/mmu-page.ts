/**
 * Page-table pages of the MMU (kernel: struct kvm_mmu_page, arch/x86/kvm/mmu/mmu_internal.h).
 *
 * A page is named by its index in the page allocator, which is also its PFN. Its header lives in the words of the page's
 * descriptor that the allocator leaves to us. Role, gfn and parent slot are written while the page is private; the invalid
 * bit of a root's role changes later, under mmu_lock held for write.
 */
import type { Memory } from '../machine/memory.ts';
import type { PageAllocator } from '../machine/page-allocator.ts';
import { type Address, fixed, own } from '../machine/point.ts';
import { Word64 } from '../machine/word64.ts';
import type { Gfn, Level } from './level.ts';

/** Words of the header, counted from the start of the page's descriptor. */
export const PageHeader = {
  /** Role, packed: see {@link Role}. */
  role: 4,
  /** Address of the SPTE that links the page (sp->ptep); 0 for a root. */
  ptep: 5,
  /** First gfn that the table maps: low and high half. */
  gfn: 6,
  /** Roots: references (tdp_mmu_root_count). */
  rootCount: 8,
  /** Roots: invalidated, and its reference given to the zapper (tdp_mmu_scheduled_root_to_zap). */
  scheduledRootToZap: 9,
  /** nx_huge_page_disallowed. */
  nxHugePageDisallowed: 10,
  /** Links of the list of possible NX huge pages; a page that is not on it has 0 in both. */
  nxPrev: 11,
  nxNext: 12,
  /** Next root on the RCU list. */
  rootNext: 14,
} as const;

/** Fields of a role (union kvm_mmu_page_role), packed into one word. */
export interface Role {
  readonly level: Level;
  readonly asId: number;
  readonly guestMode: boolean;
  readonly adDisabled: boolean;
  /** Access bits that the role grants. */
  readonly access: number;
}

const INVALID = 1 << 31;

export function packRole(role: Role): number {
  return role.level | (role.asId << 4) | (role.guestMode ? 1 << 8 : 0) | (role.adDisabled ? 1 << 9 : 0) | (role.access << 12);
}

export function unpackRole(word: number): Role {
  return {
    level: word & 15,
    asId: (word >>> 4) & 15,
    guestMode: (word & (1 << 8)) !== 0,
    adDisabled: (word & (1 << 9)) !== 0,
    access: (word >>> 12) & 7,
  };
}

export const roleLevel = (word: number): Level => word & 15;
export const roleAsId = (word: number): number => (word >>> 4) & 15;
export const roleAdDisabled = (word: number): boolean => (word & (1 << 9)) !== 0;
export const roleGuestMode = (word: number): boolean => (word & (1 << 8)) !== 0;
export const roleAccess = (word: number): number => (word >>> 12) & 7;
export const roleInvalid = (word: number): boolean => (word & INVALID) !== 0;
export const invalidRole = (word: number): number => word | INVALID;
/** The role of a table linked below one with role `word` (tdp_mmu_init_child_sp). */
export const childRole = (word: number): number => (word & ~(INVALID | 15)) | ((word & 15) - 1);

/** Accessors of headers. `role` reads without a grant: it is for words that do not change under the caller. */
export class MmuPages {
  readonly allocator: PageAllocator;
  readonly #memory: Memory;

  constructor(memory: Memory, allocator: PageAllocator) {
    this.allocator = allocator;
    this.#memory = memory;
  }

  word(page: number, index: number): Address {
    return (this.allocator.descriptorOf(page) + index) as Address;
  }

  /** Address of entry `index` of the page's table. */
  sptep(page: number, index: number): Address {
    return (this.allocator.tableOf(page) + 2 * index) as Address;
  }

  /** Writes the header of a page that nobody else can reach yet (tdp_mmu_init_sp). */
  initialize(page: number, role: number, gfn: Gfn, ptep: Address | 0): void {
    const memory = this.#memory;
    const at = (index: number) => own(this.word(page, index));
    memory.store32(at(PageHeader.role), role);
    memory.store32(at(PageHeader.ptep), ptep);
    const high = Math.floor(gfn / 2 ** 32);
    memory.store64(at(PageHeader.gfn), new Word64(gfn - high * 2 ** 32, high));
    memory.store64(at(PageHeader.rootCount), new Word64(0, 0));
    memory.store64(at(PageHeader.nxHugePageDisallowed), new Word64(0, 0));
    memory.store64(at(PageHeader.nxNext), new Word64(0, 0));
    memory.store32(at(PageHeader.rootNext), 0);
  }

  /** The packed role, as far as it is fixed: everything but the invalid bit of roots. */
  role(page: number): number {
    return this.#memory.load32(fixed(this.word(page, PageHeader.role)));
  }

  level(page: number): Level {
    return roleLevel(this.role(page));
  }

  gfn(page: number): Gfn {
    const { lo, hi } = this.#memory.load64(fixed(this.word(page, PageHeader.gfn)));
    return (hi * 2 ** 32 + (lo >>> 0)) as Gfn;
  }

  ptep(page: number): Address {
    return this.#memory.load32(fixed(this.word(page, PageHeader.ptep))) as Address;
  }
}
