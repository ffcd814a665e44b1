/**
 * KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG (kernel: kvm_get_dirty_log_protect, kvm_clear_dirty_log_protect in
 * virt/kvm/kvm_main.c).
 *
 * The order is what keeps writes from being lost: take bits, protect exactly those pages, flush, and only then return.
 * Flushing after mmu_lock is dropped will do, because a write until then belongs to a page that is being reported, and
 * slots_lock makes the next harvest wait.
 */
import { Cost } from '../machine/cost.ts';
import { mutexLock, mutexUnlock } from '../machine/mutex.ts';
import { type Address, own, read, rmw, spend, type Task } from '../machine/point.ts';
import { makeAllVcpusRequest, Request } from '../machine/tlb-shootdown.ts';
import { Word64, ZERO64 } from '../machine/word64.ts';
import { kvmFlushRemoteTlbs } from '../mmu/flush.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { kvmArchMmuEnableLogDirtyPtMasked } from '../mmu/log-dirty.ts';
import type { Memslot } from '../mmu/memslot.ts';
import { mmuLock, mmuUnlock } from '../mmu/mmu-lock.ts';
import { Site } from '../mmu/site.ts';
import { Errno } from './errno.ts';
import type { Vm } from './vm.ts';
import { VmCounter } from './vm-counters.ts';

/** Which slot's log. */
export interface DirtyLogSlot {
  readonly slot: number;
  readonly asId?: number;
}

/** What GET copies to user space: bit i of word w is page 32 w + i of the slot. */
export interface DirtyLog {
  /** 0 or a negative errno: ENOENT (no such slot, or it does not log), EINVAL, ENXIO (the VM uses dirty rings). */
  readonly result: number;
  readonly bitmap: Uint32Array;
}

const NO_PAGES = new Uint32Array(0);

/** KVM_GET_DIRTY_LOG. Without manual protection it also clears the log, and write-protects what it reports. */
export function* getDirtyLog(vm: Vm, which: DirtyLogSlot): Task<DirtyLog> {
  const { kvm } = vm;
  yield spend(Cost.syscall);
  kvm.counters[VmCounter.dirty_log_gets]++;
  yield* mutexLock(kvm.slotsLock, kvm.thread, Site.kvm_vm_ioctl_get_dirty_log);
  const slot = yield* loggingSlot(vm, which);
  let log: DirtyLog = { result: slot as number, bitmap: NO_PAGES };
  if (typeof slot !== 'number') {
    yield* syncDirtyLog(kvm);
    const bitmap = kvm.params.manualProtect ? yield* copyBitmap(kvm, slot) : yield* harvestAll(kvm, slot);
    log = { result: 0, bitmap };
  }
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
  return log;
}

export interface ClearDirtyLog extends DirtyLogSlot {
  /** First page of the slot to clear: a multiple of 64. */
  readonly firstPage: number;
  /** Pages to clear: a multiple of 64, or up to the end of the slot. */
  readonly pages: number;
  /** Which of them: bit i of word w for page firstPage + 32 w + i. */
  readonly bitmap: Uint32Array;
}

/** KVM_CLEAR_DIRTY_LOG. Returns 0 or a negative errno: EINVAL (not aligned, or beyond the slot), ENOENT, ENXIO. */
export function* clearDirtyLog(vm: Vm, clear: ClearDirtyLog): Task<number> {
  const { kvm } = vm;
  yield spend(Cost.syscall);
  kvm.counters[VmCounter.dirty_log_clears]++;
  yield* mutexLock(kvm.slotsLock, kvm.thread, Site.kvm_vm_ioctl_clear_dirty_log);
  const slot = yield* loggingSlot(vm, clear, clear.firstPage);
  let result = slot as number;
  if (typeof slot !== 'number') result = coversPages(slot, clear) ? yield* clearPages(kvm, slot, clear) : -Errno.EINVAL;
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
  return result;
}

/** The slot, or why there is none. A first page within a word is an error even where there is no such slot. */
function* loggingSlot(vm: Vm, which: DirtyLogSlot, firstPage = 0): Task<Memslot | number> {
  const { asId = 0, slot: id } = which;
  if (vm.kvm.params.get('dirtyRingSize') !== 0) return -Errno.ENXIO;
  if (asId < 0 || asId >= vm.slots.sets.length || id < 0 || id >= vm.config.maxMemslots) return -Errno.EINVAL;
  if (firstPage % 64 !== 0) return -Errno.EINVAL;
  const slot = (yield* vm.slots.all(vm.kvm, asId)).find((s) => s.id === id);
  return slot === undefined || slot.dirtyBitmap === 0 ? -Errno.ENOENT : slot;
}

function coversPages(slot: Memslot, { firstPage, pages, bitmap }: ClearDirtyLog): boolean {
  if (firstPage < 0 || pages < 0 || firstPage > slot.npages) return false;
  const rest = slot.npages - firstPage;
  if (pages > rest || (pages < rest && pages % 64 !== 0)) return false;
  return bitmap.length >= Math.ceil(pages / 32);
}

/** Makes vCPUs leave the guest, which empties their page-modification logs into the bitmap (kvm_arch_sync_dirty_log). */
function* syncDirtyLog(kvm: Kvm): Task<void> {
  if (kvm.params.pml) yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.outsideGuestMode, { wait: false });
}

/** The bitmap as it stands, while vCPUs go on setting bits. */
function* copyBitmap(kvm: Kvm, slot: Memslot): Task<Uint32Array> {
  const copy = new Uint32Array(slot.bitmapWords);
  for (let i = 0; i < copy.length; i++) copy[i] = kvm.memory.load32(yield read((slot.dirtyBitmap + i) as Address));
  yield spend(Cost.bitmapWord, copy.length / 2);
  return copy;
}

/** Address of the half that only holders of slots_lock use. */
const scratchOf = (slot: Memslot): Address => (slot.dirtyBitmap + slot.bitmapWords) as Address;

/** Faults mark a gfn before they install its SPTE: only mmu_lock held for write keeps a harvest from coming between. */
const harvestsShared = (kvm: Kvm): boolean => kvm.bugs['harvest-under-read-lock-vs-make-spte'] === true;

function* harvestAll(kvm: Kvm, slot: Memslot): Task<Uint32Array> {
  const { memory } = kvm;
  const { dirtyBitmap: live, bitmapWords } = slot;
  const scratch = scratchOf(slot);
  const shared = harvestsShared(kvm);
  let harvested = 0;
  memory.fill32(own(scratch), 0, bitmapWords);
  yield* mmuLock(kvm, shared, Site.kvm_get_dirty_log_protect);
  for (let i = 0; i < bitmapWords; i += 2) {
    const word = (live + i) as Address;
    const seen = memory.load64(yield read(word));
    if ((seen.lo | seen.hi) === 0) continue;
    const mask = memory.xchg64(yield rmw(word), ZERO64);
    memory.store64(own((scratch + i) as Address), mask);
    yield* kvmArchMmuEnableLogDirtyPtMasked(kvm, slot, 32 * i, mask);
    harvested++;
  }
  yield* mmuUnlock(kvm, shared);
  yield* finishHarvest(kvm, harvested);
  const copy = new Uint32Array(bitmapWords);
  for (let i = 0; i < bitmapWords; i++) copy[i] = memory.load32(own((scratch + i) as Address));
  yield spend(Cost.bitmapWord, bitmapWords / 2);
  return copy;
}

function* clearPages(kvm: Kvm, slot: Memslot, clear: ClearDirtyLog): Task<number> {
  const { memory } = kvm;
  const { firstPage, pages, bitmap } = clear;
  const scratch = scratchOf(slot);
  const shared = harvestsShared(kvm);
  yield* syncDirtyLog(kvm);
  const words = 2 * Math.ceil(pages / 64);
  for (let i = 0; i < words; i++) memory.store32(own((scratch + i) as Address), bitmap[i] ?? 0);
  yield spend(Cost.bitmapWord, words / 2);

  let harvested = 0;
  yield* mmuLock(kvm, shared, Site.kvm_clear_dirty_log_protect);
  for (let i = 0; i < words; i += 2) {
    const wanted = memory.load64(own((scratch + i) as Address));
    if ((wanted.lo | wanted.hi) === 0) continue;
    const offset = firstPage + 32 * i;
    const old = memory.and64(yield rmw((slot.dirtyBitmap + offset / 32) as Address), new Word64(~wanted.lo, ~wanted.hi));
    // Bits beyond the end of the slot were never set, so they drop out here.
    const mask = new Word64(old.lo & wanted.lo, old.hi & wanted.hi);
    if ((mask.lo | mask.hi) === 0) continue;
    yield* kvmArchMmuEnableLogDirtyPtMasked(kvm, slot, offset, mask);
    harvested++;
  }
  yield* mmuUnlock(kvm, shared);
  yield* finishHarvest(kvm, harvested);
  return 0;
}

/**
 * Flushes what was protected, with slots_lock held. It goes by the bits that were taken, not by the SPTEs that changed:
 * where an SPTE was protected already, the flush for that may still be owed by another thread.
 */
function* finishHarvest(kvm: Kvm, harvested: number): Task<void> {
  kvm.counters[VmCounter.dirty_log_words] += harvested;
  if (harvested > 0 && kvm.bugs['harvest-without-flush-before-return'] !== true) yield* kvmFlushRemoteTlbs(kvm);
}
