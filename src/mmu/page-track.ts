/**
 * Write tracking of single gfns (kernel: arch/x86/kvm/mmu/page_track.c and kvm_mmu_slot_gfn_write_protect).
 *
 * Few gfns are tracked (shadowed guest page tables), so they are a short table in the arena: written under mmu_lock held for
 * write, read under mmu_lock, and without it only to leave a fault early.
 */
import { invariant } from '../machine/invariant.ts';
import { type Address, read, type Task, write } from '../machine/point.ts';
import { Word64 } from '../machine/word64.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import { type Kvm, KvmWord, TRACKED_GFNS } from './kvm.ts';
import { asGfn, type Gfn, PG_LEVEL_4K } from './level.ts';
import type { Memslot } from './memslot.ts';
import { mmuWriteLock, mmuWriteUnlock } from './mmu-lock.ts';
import { Site } from './site.ts';
import { kvmTdpMmuWriteProtectGfn } from './write-protect.ts';

function slotWord(kvm: Kvm, index: number): Address {
  return (kvm.layout.pageTrack + 2 * index) as Address;
}

function* trackedAt(kvm: Kvm, index: number): Task<Gfn> {
  const { lo, hi } = kvm.memory.load64(yield read(slotWord(kvm, index)));
  return asGfn(hi * 2 ** 32 + (lo >>> 0));
}

/** Whether writes to `gfn` must stay intercepted (kvm_gfn_is_write_tracked). */
export function* gfnIsWriteTracked(kvm: Kvm, gfn: Gfn): Task<boolean> {
  const n = kvm.memory.load32(yield read(kvm.word(KvmWord.trackedGfns)));
  for (let i = 0; i < n; i++) {
    if ((yield* trackedAt(kvm, i)) === gfn) return true;
  }
  return false;
}

/** Begins to track writes to `gfn`: from the return on no vCPU can write it unnoticed (kvm_write_track_add_gfn). */
export function* kvmWriteTrackAddGfn(kvm: Kvm, slot: Memslot, gfn: Gfn): Task<void> {
  yield* mmuWriteLock(kvm, Site.kvm_page_track_add_page);
  const count = kvm.word(KvmWord.trackedGfns);
  const n = kvm.memory.load32(yield read(count));
  invariant(n < TRACKED_GFNS, 'page-track-full', `more than ${TRACKED_GFNS} gfns were to be write-tracked`);
  const high = Math.floor(gfn / 2 ** 32);
  kvm.memory.store64(yield write(slotWord(kvm, n)), new Word64(gfn - high * 2 ** 32, high));
  kvm.memory.store32(yield write(count), n + 1);
  if (yield* kvmTdpMmuWriteProtectGfn(kvm, slot, gfn, PG_LEVEL_4K)) yield* kvmFlushRemoteTlbs(kvm);
  yield* mmuWriteUnlock(kvm);
}

/** Ends tracking; later faults may map the page writable again (kvm_write_track_remove_gfn). */
export function* kvmWriteTrackRemoveGfn(kvm: Kvm, gfn: Gfn): Task<void> {
  yield* mmuWriteLock(kvm, Site.kvm_page_track_add_page);
  const count = kvm.word(KvmWord.trackedGfns);
  const n = kvm.memory.load32(yield read(count));
  for (let i = 0; i < n; i++) {
    if ((yield* trackedAt(kvm, i)) !== gfn) continue;
    const last = kvm.memory.load64(yield read(slotWord(kvm, n - 1)));
    kvm.memory.store64(yield write(slotWord(kvm, i)), last);
    kvm.memory.store32(yield write(count), n - 1);
    break;
  }
  yield* mmuWriteUnlock(kvm);
}

/** Whether a huge page at `gfn` of `pages` pages would cover a tracked gfn (disallow_lpage). Caller holds mmu_lock. */
export function* rangeIsWriteTracked(kvm: Kvm, gfn: Gfn, pages: number): Task<boolean> {
  const n = kvm.memory.load32(yield read(kvm.word(KvmWord.trackedGfns)));
  for (let i = 0; i < n; i++) {
    const tracked = yield* trackedAt(kvm, i);
    if (tracked >= gfn && tracked < gfn + pages) return true;
  }
  return false;
}
