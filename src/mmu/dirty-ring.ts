/**
 * The dirty ring of a vCPU: instead of a bitmap, each gfn that becomes dirty is one entry (kernel: virt/kvm/dirty_ring.c and
 * kvm_vm_ioctl_reset_dirty_pages in kvm_main.c).
 *
 * The vCPU alone adds entries. User space collects them and marks each as harvested; the reset ioctl takes harvested entries
 * back, in order, and protects their pages again. An entry's flags say whose it is.
 */
import { invariant } from '../machine/invariant.ts';
import { assertMutexHeld } from '../machine/mutex.ts';
import { type Address, own, read, type Task, write } from '../machine/point.ts';
import { Word64 } from '../machine/word64.ts';
import { MmuCounter } from './counters.ts';
import { type DirtyRingLayout, EntryWord, RingWord } from './dirty-ring-layout.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import type { Kvm } from './kvm.ts';
import type { Gfn } from './level.ts';
import { kvmArchMmuEnableLogDirtyPtMasked } from './log-dirty.ts';
import type { Memslot } from './memslot.ts';
import { mmuWriteLock, mmuWriteUnlock } from './mmu-lock.ts';
import { Site } from './site.ts';

/** KVM_DIRTY_GFN_F_DIRTY and KVM_DIRTY_GFN_F_RESET. */
const EntryFlag = { free: 0, dirty: 1, harvested: 3 } as const;

/** Entries kept free for what a vCPU may still push before it sees that the ring is full (KVM_DIRTY_RING_RSVD_ENTRIES). */
const RESERVED_ENTRIES = 64;
/** Pages that one reset can protect in one go: bits of a mask. */
const BATCH = 64;

/** Fills of the ring from which on its vCPU must not enter the guest: an exit may still push `logSize` entries at once. */
function softLimit(ring: DirtyRingLayout, logSize: number): number {
  return ring.entries - Math.min(RESERVED_ENTRIES, ring.entries >>> 1) - logSize;
}

/** Adds page `offset` of `slot` to the ring of `vcpu`, in whose thread we are (kvm_dirty_ring_push). */
export function* kvmDirtyRingPush(kvm: Kvm, vcpu: number, slot: Memslot, offset: number): Task<void> {
  const { memory } = kvm;
  const ring = kvm.layout.dirtyRings!;
  const index = memory.load32(own(ring.word(vcpu, RingWord.dirtyIndex)));
  const entry = ring.entry(vcpu, index);
  const flags = memory.load32(yield read(at(entry, EntryWord.flags)));
  invariant(flags === EntryFlag.free, 'dirty-ring-full', `vCPU ${vcpu} pushes to a full dirty ring`);
  memory.store32(own(at(entry, EntryWord.slot)), (slot.asId << 16) | slot.id);
  memory.store32(own(at(entry, EntryWord.offset)), offset);
  // The flags come last: who sees them sees the entry.
  memory.store32(yield write(at(entry, EntryWord.flags)), EntryFlag.dirty);
  memory.store32(yield write(ring.word(vcpu, RingWord.dirtyIndex)), index + 1);
  kvm.counters[MmuCounter.gfns_marked_dirty]++;
  kvm.trace?.dirtyRingPush(vcpu, slot.id, offset);
}

/**
 * Whether the ring is so full that its vCPU must leave for user space (kvm_dirty_ring_soft_full).
 *
 * @param logSize entries of the processor's page-modification log, which are pushed when the vCPU leaves the guest
 */
export function* kvmDirtyRingSoftFull(kvm: Kvm, vcpu: number, logSize = 0): Task<boolean> {
  const { memory } = kvm;
  const ring = kvm.layout.dirtyRings!;
  const dirty = memory.load32(yield read(ring.word(vcpu, RingWord.dirtyIndex)));
  return dirty - memory.load32(yield read(ring.word(vcpu, RingWord.resetIndex))) >= softLimit(ring, logSize);
}

/** A page that user space collected. */
export interface DirtyGfn {
  readonly asId: number;
  readonly slot: number;
  readonly offset: number;
}

/** User space's share: collects the entries that are new and marks them as harvested. One thread at a time. */
export function* collectDirtyRing(kvm: Kvm, vcpu: number): Task<readonly DirtyGfn[]> {
  const { memory } = kvm;
  const ring = kvm.layout.dirtyRings!;
  const found: DirtyGfn[] = [];
  for (;;) {
    const fetch = memory.load32(own(ring.word(vcpu, RingWord.fetchIndex)));
    const entry = ring.entry(vcpu, fetch);
    if (memory.load32(yield read(at(entry, EntryWord.flags))) !== EntryFlag.dirty) return found;
    const id = memory.load32(own(at(entry, EntryWord.slot)));
    found.push({ asId: id >>> 16, slot: id & 0xffff, offset: memory.load32(own(at(entry, EntryWord.offset))) });
    memory.store32(yield write(at(entry, EntryWord.flags)), EntryFlag.harvested);
    memory.store32(own(ring.word(vcpu, RingWord.fetchIndex)), fetch + 1);
  }
}

/** Pages of one slot that lie within a mask's reach of each other. */
interface Batch {
  readonly id: number;
  readonly offset: number;
  readonly mask: Word64;
}

/**
 * KVM_RESET_DIRTY_RINGS: takes all harvested entries back and protects their pages, then flushes. The caller holds
 * slots_lock. Returns how many entries were taken.
 */
export function* kvmResetDirtyRings(kvm: Kvm): Task<number> {
  assertMutexHeld(kvm.slotsLock, kvm.thread);
  let taken = 0;
  for (let vcpu = 0; vcpu < kvm.config.vcpus; vcpu++) taken += yield* resetRing(kvm, vcpu);
  if (taken > 0) yield* kvmFlushRemoteTlbs(kvm);
  return taken;
}

function* resetRing(kvm: Kvm, vcpu: number): Task<number> {
  const { memory } = kvm;
  const ring = kvm.layout.dirtyRings!;
  let taken = 0;
  let batch: Batch | null = null;
  for (;;) {
    const index = memory.load32(own(ring.word(vcpu, RingWord.resetIndex)));
    const entry = ring.entry(vcpu, index);
    if (memory.load32(yield read(at(entry, EntryWord.flags))) !== EntryFlag.harvested) break;
    const id = memory.load32(own(at(entry, EntryWord.slot)));
    const offset = memory.load32(own(at(entry, EntryWord.offset)));
    memory.store32(yield write(at(entry, EntryWord.flags)), EntryFlag.free);
    memory.store32(yield write(ring.word(vcpu, RingWord.resetIndex)), index + 1);
    taken++;
    const joined: Batch | null = batch === null ? null : join(batch, id, offset);
    if (joined === null && batch !== null) yield* protect(kvm, batch);
    batch = joined ?? { id, offset, mask: new Word64(1, 0) };
  }
  if (batch !== null) yield* protect(kvm, batch);
  return taken;
}

/** The batch with one page more, or null where the page is out of its reach. */
function join(batch: Batch, id: number, offset: number): Batch | null {
  if (batch.id !== id) return null;
  const delta = offset - batch.offset;
  if (delta >= 0 && delta < BATCH) return { ...batch, mask: withBit(batch.mask, delta) };
  // Backwards as well, as long as nothing falls out at the other end.
  if (delta > -BATCH && delta < 0 && highestBit(batch.mask) - delta < BATCH) {
    let mask = new Word64(1, 0);
    for (let bit = 0; bit < BATCH; bit++) if (hasBit(batch.mask, bit)) mask = withBit(mask, bit - delta);
    return { id, offset, mask };
  }
  return null;
}

const hasBit = (mask: Word64, bit: number): boolean => ((bit < 32 ? mask.lo >>> bit : mask.hi >>> (bit - 32)) & 1) !== 0;
const withBit = (mask: Word64, bit: number): Word64 =>
  bit < 32 ? new Word64(mask.lo | (1 << bit), mask.hi) : new Word64(mask.lo, mask.hi | (1 << (bit - 32)));
const highestBit = (mask: Word64): number => (mask.hi !== 0 ? 63 - Math.clz32(mask.hi) : 31 - Math.clz32(mask.lo));

/** Protects the pages of a batch (kvm_reset_dirty_gfn). Nothing is done for a slot that is gone, or became shorter. */
function* protect(kvm: Kvm, { id, offset, mask }: Batch): Task<void> {
  const slots = yield* kvm.slots.all(kvm, id >>> 16);
  const slot = slots.find((s) => s.id === (id & 0xffff));
  if (slot === undefined || offset + highestBit(mask) >= slot.npages) return;
  yield* mmuWriteLock(kvm, Site.kvm_dirty_ring_reset);
  yield* kvmArchMmuEnableLogDirtyPtMasked(kvm, slot, offset, mask);
  yield* mmuWriteUnlock(kvm);
}

const at = (entry: Address, word: number): Address => (entry + word) as Address;

/** The gfn of a collected page, given its slot. */
export const gfnOfDirty = (slot: Memslot, dirty: DirtyGfn): Gfn => (slot.baseGfn + dirty.offset) as Gfn;
