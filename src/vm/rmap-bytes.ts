/**
 * What reverse maps cost in memory: about 0.2 % of the guest's, which the TDP MMU saves (Gardon 2019).
 *
 * Counted as a 64-bit kernel would: 8 bytes a head, allocated with the memslot whether its pages are mapped or not, and 32
 * bytes a descriptor in use.
 */
import { own } from '../machine/point.ts';
import { rmapHeads } from '../shadow/drop-spte.ts';
import { PTE_DESC_BYTES, RMAP_HEAD_BYTES, ShadowWord } from '../shadow/shadow-layout.ts';
import { RMAP_LEVELS } from './slot-rmaps.ts';
import type { Vm } from './vm.ts';

const PAGE_BYTES = 4096;

export interface RmapBytes {
  readonly headBytes: number;
  readonly descriptorBytes: number;
  readonly totalBytes: number;
  /** Memory in all memslots. */
  readonly guestBytes: number;
  /** totalBytes / guestBytes; 0 where there is no memory. */
  readonly share: number;
}

/** The memory of reverse maps as it is now: none with the TDP MMU. The memslots must not change meanwhile. */
export function rmapBytes(vm: Vm): RmapBytes {
  const shadow = vm.layout.shadow;
  let heads = 0;
  let pages = 0;
  for (const sets of vm.slots.sets) {
    for (const slot of sets.decode(vm.memory.load32(own(sets.active)))) {
      pages += slot.npages;
      if (slot.rmaps !== undefined) for (const level of RMAP_LEVELS) heads += rmapHeads(vm.kvm, slot, level);
    }
  }
  const descriptors = shadow === null ? 0 : vm.memory.load32(own(shadow.word(ShadowWord.descUsed)));
  const headBytes = RMAP_HEAD_BYTES * heads;
  const descriptorBytes = PTE_DESC_BYTES * descriptors;
  const totalBytes = headBytes + descriptorBytes;
  const guestBytes = PAGE_BYTES * pages;
  return { headBytes, descriptorBytes, totalBytes, guestBytes, share: guestBytes === 0 ? 0 : totalBytes / guestBytes };
}
