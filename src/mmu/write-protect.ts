/**
 * Taking write access or the dirty bit away (kernel: wrprot_gfn_range, clear_dirty_gfn_range, clear_dirty_pt_masked,
 * write_protect_gfn in tdp_mmu.c).
 */
import { Cost } from '../machine/cost.ts';
import { spend, type Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { andNot64, any64, equal64, or64, Word64 } from '../machine/word64.ts';
import { MmuCounter } from './counters.ts';
import type { Kvm } from './kvm.ts';
import { asGfn, type Gfn, type Level, PG_LEVEL_4K } from './level.ts';
import { type Memslot, slotEnd } from './memslot.ts';
import { assertMmuLockHeldRead, assertMmuLockHeldWrite } from './mmu-lock.ts';
import { roleAdDisabled, roleGuestMode } from './mmu-page.ts';
import { nextRoot, nextRootNoRef, usableRoots } from './roots.ts';
import { iterSetSpte, setSpteAtomic, UpdateKind } from './set-spte.ts';
import { isLastSpte, isWritable, sptePfn, WRITABLE_BIT } from './spte.ts';
import { iterPresent, TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import { tdpMmuIterCondResched } from './tdp-iter-resched.ts';
import { clearSpteBits } from './write-spte.ts';

/** Bits of one word of a dirty log. */
const WORD_BITS = 64;

/** The bit that dirty logging watches below `root`: D, or W where D cannot be used (tdp_mmu_need_write_protect). */
function trackingBit(kvm: Kvm, root: number): Word64 {
  const role = kvm.pages.role(root);
  const writeProtect = roleAdDisabled(role) || (roleGuestMode(role) && kvm.params.pml);
  return writeProtect && kvm.bugs['nested-spte-dbit-clear-with-pml'] !== true ? WRITABLE_BIT : kvm.spte.dirty;
}

/** Clears `mask` in the leaves of the slot at or above `minLevel`. mmu_lock is held for read. Returns whether one had it. */
function* clearInSlot(kvm: Kvm, root: number, slot: Memslot, minLevel: Level, mask: Word64, counter: number): Task<boolean> {
  assertMmuLockHeldRead(kvm);
  const end = slotEnd(slot);
  const iter = new TdpIter(kvm.spte.nonpresent);
  let changed = false;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  yield* tdpIterStart(kvm, iter, root, minLevel, slot.baseGfn);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    // The flush comes after the walk, for all of it, outside mmu_lock: so none is owed at a yield.
    for (;;) {
      if (yield* tdpMmuIterCondResched(kvm, iter, false, true)) break;
      const careless = kvm.bugs['clear-dirty-retry-without-present-check'] === true;
      if (!careless && (!iterPresent(iter) || !isLastSpte(iter.oldSpte, iter.level))) break;
      if (!any64(iter.oldSpte, mask)) break;
      if (yield* setSpteAtomic(kvm, iter, andNot64(iter.oldSpte, mask), UpdateKind.protect)) {
        kvm.counters[counter]++;
        changed = true;
        break;
      }
    }
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  return changed;
}

/** Clears W in the slot's leaves at or above `minLevel`; MMU-writable stays (kvm_tdp_mmu_wrprot_slot). */
export function* kvmTdpMmuWrprotSlot(kvm: Kvm, slot: Memslot, minLevel: Level): Task<boolean> {
  kvm.trace?.wrprotSlot(minLevel);
  const valid = usableRoots(kvm);
  let changed = false;
  for (let root = yield* nextRoot(kvm, 0, valid, slot.asId); root !== 0; root = yield* nextRoot(kvm, root, valid, slot.asId)) {
    const some = yield* clearInSlot(kvm, root, slot, minLevel, WRITABLE_BIT, MmuCounter.write_protected);
    changed ||= some;
  }
  return changed;
}

/** Clears the tracking bit in all of the slot's leaves (kvm_tdp_mmu_clear_dirty_slot). */
export function* kvmTdpMmuClearDirtySlot(kvm: Kvm, slot: Memslot): Task<boolean> {
  kvm.trace?.clearDirtySlot();
  const valid = usableRoots(kvm);
  let changed = false;
  for (let root = yield* nextRoot(kvm, 0, valid, slot.asId); root !== 0; root = yield* nextRoot(kvm, root, valid, slot.asId)) {
    const mask = trackingBit(kvm, root);
    const some = yield* clearInSlot(kvm, root, slot, PG_LEVEL_4K, mask, MmuCounter.dirty_cleared);
    changed ||= some;
  }
  return changed;
}

const maskBit = (mask: Word64, i: number): boolean => ((i < 32 ? mask.lo >>> i : mask.hi >>> (i - 32)) & 1) !== 0;

function firstBit(mask: Word64): number {
  return mask.lo !== 0 ? 31 - Math.clz32(mask.lo & -mask.lo) : 63 - Math.clz32(mask.hi & -mask.hi);
}

/**
 * Clears the tracking bit of the 4K leaves that `mask` names, bit i for `gfn + i`. mmu_lock is held for write throughout.
 *
 * @param wrprot the caller wants W cleared, whatever the root's policy
 */
export function* kvmTdpMmuClearDirtyPtMasked(kvm: Kvm, slot: Memslot, gfn: Gfn, mask: Word64, wrprot: boolean): Task<void> {
  // Announced once, whether the address space has roots or not.
  kvm.trace?.clearDirtyPtMasked(gfn, (BigInt(mask.hi >>> 0) << 32n) | BigInt(mask.lo >>> 0), wrprot);
  const valid = usableRoots(kvm);
  for (let root = yield* nextRootNoRef(kvm, 0, valid, slot.asId); root !== 0; ) {
    yield* clearDirtyPtMasked(kvm, root, gfn, mask, wrprot);
    root = yield* nextRootNoRef(kvm, root, valid, slot.asId);
  }
}

function* clearDirtyPtMasked(kvm: Kvm, root: number, gfn: Gfn, wanted: Word64, wrprot: boolean): Task<void> {
  if (kvm.bugs['harvest-under-read-lock-vs-make-spte'] !== true) assertMmuLockHeldWrite(kvm);
  const bit = wrprot ? WRITABLE_BIT : trackingBit(kvm, root);
  const counter = equal64(bit, WRITABLE_BIT) ? MmuCounter.write_protected : MmuCounter.dirty_cleared;
  let { lo, hi } = wanted;
  const iter = new TdpIter(kvm.spte.nonpresent);
  const end = asGfn(gfn + WORD_BITS);
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  yield* tdpIterStart(kvm, iter, root, PG_LEVEL_4K, asGfn(gfn + firstBit(wanted)));
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    if (!iterPresent(iter) || !isLastSpte(iter.oldSpte, iter.level)) continue;
    if ((lo | hi) === 0) break;
    const i = iter.gfn - gfn;
    if (iter.level > PG_LEVEL_4K || i < 0 || !maskBit(new Word64(lo, hi), i)) continue;
    // Visited is done, changed or not: with the last bit gone the walk ends.
    if (any64(iter.oldSpte, bit) || kvm.bugs['clear-masked-early-break-keeps-bit'] !== true) {
      if (i < 32) lo &= ~(1 << i);
      else hi &= ~(1 << (i - 32));
    }
    if (!any64(iter.oldSpte, bit)) continue;
    iter.oldSpte = yield* clearSpteBits(kvm, iter.sptep, iter.oldSpte, bit, iter.level);
    kvm.trace?.spteChanged(iter.asId, iter.gfn, iter.level, iter.oldSpte, andNot64(iter.oldSpte, bit));
    kvm.counters[counter]++;
    kvm.counters[MmuCounter.host_pages_dirtied]++;
    kvm.host.setPageDirty(kvm, sptePfn(iter.oldSpte));
    yield spend(Cost.spteChange);
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
}

/**
 * Takes W and MMU-writable from the leaf that maps `gfn` at or above `minLevel`: from then on only the slow path makes it
 * writable. mmu_lock is held for write.
 *
 * @returns whether anything changed: the caller must flush before it drops mmu_lock, even where W was clear before
 */
export function* kvmTdpMmuWriteProtectGfn(kvm: Kvm, slot: Memslot, gfn: Gfn, minLevel: Level): Task<boolean> {
  assertMmuLockHeldWrite(kvm);
  kvm.trace?.writeProtectGfn(gfn, minLevel);
  if (kvm.backend !== null) return yield* kvm.backend.writeProtectGfn(kvm, slot, gfn, minLevel);
  const valid = usableRoots(kvm);
  let changed = false;
  for (let root = yield* nextRootNoRef(kvm, 0, valid, slot.asId); root !== 0; ) {
    const some = yield* writeProtectGfn(kvm, root, gfn, minLevel);
    changed ||= some;
    root = yield* nextRootNoRef(kvm, root, valid, slot.asId);
  }
  return changed;
}

function* writeProtectGfn(kvm: Kvm, root: number, gfn: Gfn, minLevel: Level): Task<boolean> {
  const iter = new TdpIter(kvm.spte.nonpresent);
  const end = asGfn(gfn + 1);
  const both = or64(WRITABLE_BIT, kvm.spte.mmuWritable);
  let changed = false;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  yield* tdpIterStart(kvm, iter, root, minLevel, gfn);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    if (!iterPresent(iter) || !isLastSpte(iter.oldSpte, iter.level)) continue;
    const next = andNot64(iter.oldSpte, both);
    if (equal64(next, iter.oldSpte)) break;
    const wasWritable = isWritable(iter.oldSpte);
    yield* iterSetSpte(kvm, iter, next);
    kvm.counters[MmuCounter.write_protected]++;
    changed ||= wasWritable || kvm.bugs['mmu-writable-cleared-without-flush'] !== true;
  }
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  return changed;
}
