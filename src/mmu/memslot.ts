/**
 * A memslot as the MMU sees it (kernel: struct kvm_memory_slot).
 *
 * The VM publishes sets of these under SRCU; a decoded slot never changes, so it is ordinary JavaScript. Only its dirty
 * bitmap is shared.
 */
import type { Address } from '../machine/point.ts';
import { type Geometry, type Gfn, type Level, PG_LEVEL_4K } from './level.ts';

export const SlotFlag = {
  /** KVM_MEM_LOG_DIRTY_PAGES */
  logDirty: 1,
  /** KVM_MEM_READONLY */
  readonly: 2,
  /** KVM_MEMSLOT_INVALID: being deleted or moved; faults retry. */
  invalid: 1 << 16,
} as const;

export interface Memslot {
  readonly id: number;
  /** Address space: 0 normal, 1 SMM. */
  readonly asId: number;
  readonly baseGfn: Gfn;
  /** Pages (4K). */
  readonly npages: number;
  readonly flags: number;
  /** Host backing region, and the first of its pages (4K) that the slot maps: together, the slot's userspace address. */
  readonly region: number;
  readonly regionPage: number;
  /** First word of the dirty bitmap (a bit a page), 0 for none. Its second half, from `bitmapWords` on, is scratch. */
  readonly dirtyBitmap: Address;
  /** 32-bit words of one half of the bitmap: even. */
  readonly bitmapWords: number;
  /** The rmap-based MMU only: first word of the reverse maps, by level from 1 (arch.rmap). */
  readonly rmaps?: readonly Address[];
}

export function slotLogsDirty(slot: Memslot): boolean {
  return (slot.flags & SlotFlag.logDirty) !== 0;
}

export function slotEnd(slot: Memslot): Gfn {
  return (slot.baseGfn + slot.npages) as Gfn;
}

export function slotContains(slot: Memslot, gfn: Gfn): boolean {
  return gfn >= slot.baseGfn && gfn < slot.baseGfn + slot.npages;
}

/**
 * Whether the slot's geometry allows a page of `level` at `gfn`: gfn and host address must be congruent modulo the page, and
 * the page wholly inside the slot (the disallow_lpage marks that kvm_alloc_memslot_metadata makes).
 */
export function slotAllowsLevel(slot: Memslot, geometry: Geometry, gfn: Gfn, level: Level): boolean {
  if (level === PG_LEVEL_4K) return true;
  if (!geometry.aligned(slot.baseGfn - slot.regionPage, level)) return false;
  const start = geometry.round(gfn, level);
  return start >= slot.baseGfn && start + geometry.span(level) <= slot.baseGfn + slot.npages;
}
