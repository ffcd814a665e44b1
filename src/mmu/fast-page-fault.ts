/**
 * Fixing a fault without mmu_lock (kernel: fast_page_fault, fast_pf_fix_direct_spte, kvm_tdp_mmu_fast_pf_get_last_sptep).
 *
 * It sets W in an SPTE that is MMU-writable, or restores the access bits of one that is access-tracked, by one exchange
 * against the value it read. It flushes nothing and keeps no books: that is why those who hold mmu_lock exchange such
 * SPTEs too, and why an SPTE without W may still become writable at any time.
 */
import { type Address, rmw, type Task } from '../machine/point.ts';
import { equal64, or64 } from '../machine/word64.ts';
import { MmuCounter } from './counters.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, type Level, PG_LEVEL_4K } from './level.ts';
import { locklessWalkBegin, locklessWalkEnd } from './lockless-walk.ts';
import { markPageDirtyInSlot } from './mark-dirty.ts';
import { slotLogsDirty } from './memslot.ts';
import { type PageFault, RetPf } from './page-fault-info.ts';
import { isLastSpte, isShadowPresent, isWritable, type Spte, WRITABLE_BIT } from './spte.ts';
import { type TdpIter, tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import type { VcpuMmu } from './vcpu-mmu.ts';

/** How often an exchange is tried before the slow path is taken. */
const MAX_TRIES = 5;

/** Whether the fault is of a kind that needs no more than an SPTE's bits (page_fault_can_be_fast). */
export function pageFaultCanBeFast(kvm: Kvm, fault: PageFault): boolean {
  if (fault.reserved) return false;
  if (!fault.present) return !kvm.spte.features.adBits;
  return fault.write;
}

/** Tries to fix the fault; `RetPf.invalid` where the slow path must. */
export function* fastPageFault(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<RetPf> {
  if (!pageFaultCanBeFast(kvm, fault) || vcpu.root === 0) return RetPf.invalid;
  yield* locklessWalkBegin(kvm, vcpu);
  const result = yield* fixInWalk(kvm, vcpu, fault, vcpu.iter);
  yield* locklessWalkEnd(kvm, vcpu);
  if (result !== RetPf.invalid) kvm.counters[MmuCounter.pf_fast]++;
  return result;
}

/** Walks to the last SPTE on the path to the gfn, whatever it holds. */
function* walkToLastSpte(kvm: Kvm, vcpu: VcpuMmu, gfn: Gfn, iter: TdpIter): Task<void> {
  const end = (gfn + 1) as Gfn;
  let { sptep, level, oldSpte } = iter;
  yield* tdpIterStart(kvm, iter, vcpu.root, PG_LEVEL_4K, gfn);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) {
    ({ sptep, level, oldSpte } = iter);
  }
  iter.sptep = sptep;
  iter.level = level;
  iter.oldSpte = oldSpte;
}

function* fixInWalk(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault, iter: TdpIter): Task<RetPf> {
  let result: RetPf = RetPf.invalid;
  let next: Spte = iter.oldSpte;
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    yield* walkToLastSpte(kvm, vcpu, fault.gfn, iter);
    const old = iter.oldSpte;
    next = old;
    if (!isShadowPresent(old)) {
      if (kvm.spte.isFrozen(old)) kvm.counters[MmuCounter.frozen_met_fast]++;
      break;
    }
    if (!isLastSpte(old, iter.level)) break;
    if (kvm.spte.isAccessAllowed(old, fault.write, fault.exec)) {
      result = RetPf.spurious;
      break;
    }
    const fixed = fixedSpte(kvm, fault, old, iter.level);
    if (fixed === null) break;
    if (yield* fixDirectSpte(kvm, fault, iter.sptep, old, fixed)) {
      next = fixed;
      result = RetPf.fixed;
      break;
    }
  }
  kvm.trace?.fastPageFault(vcpu.vcpu, fault.gfn, fault.errorCode, iter.sptep, iter.oldSpte, next, result, iter.level);
  return result;
}

/** The value that would allow the access, or null where that takes more than the SPTE's own bits. */
function fixedSpte(kvm: Kvm, fault: PageFault, old: Spte, level: Level): Spte | null {
  let next = old;
  if (!kvm.spte.features.adBits && kvm.spte.isAccessTracked(old)) next = kvm.spte.restoreAccessTrack(next);
  if (fault.write && kvm.spte.isMmuWritable(old)) {
    next = or64(next, WRITABLE_BIT);
    // A huge page of a slot that logs must be split first: one bit of the log cannot stand for all of it.
    const logs = fault.slot !== null && slotLogsDirty(fault.slot);
    if (level > PG_LEVEL_4K && logs && kvm.bugs['fast-pf-huge-marks-first-page-only'] !== true) return null;
  }
  if (equal64(next, old)) return null;
  const enough = kvm.spte.isAccessAllowed(next, fault.write, fault.exec);
  return enough || kvm.bugs['fast-pf-restores-insufficient-perms'] === true ? next : null;
}

/** The exchange, and the mark in the log where W was gained: after it, so that a harvest between the two finds W to clear. */
function* fixDirectSpte(kvm: Kvm, fault: PageFault, sptep: Address, old: Spte, next: Spte): Task<boolean> {
  const gainsWrite = isWritable(next) && !isWritable(old) && fault.slot !== null;
  const early = kvm.bugs['fast-pf-marks-before-cmpxchg'] === true;
  if (gainsWrite && early) yield* markPageDirtyInSlot(kvm, fault.slot as never, fault.gfn);
  kvm.counters[MmuCounter.cmpxchg_fast]++;
  if (kvm.memory.cmpxchg64(yield rmw(sptep), old, next) !== old) {
    kvm.counters[MmuCounter.cmpxchg_fast_failed]++;
    return false;
  }
  if (gainsWrite && !early) yield* markPageDirtyInSlot(kvm, fault.slot as never, fault.gfn);
  return true;
}
