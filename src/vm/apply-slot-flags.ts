/**
 * What a change of a memslot means for the MMU (kernel: kvm_arch_flush_shadow_memslot, kvm_mmu_slot_apply_flags,
 * kvm_mmu_update_cpu_dirty_logging in arch/x86/kvm/x86.c). The caller holds slots_lock.
 */
import { own, type Task } from '../machine/point.ts';
import { makeAllVcpusRequest, Request } from '../machine/tlb-shootdown.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import { PG_LEVEL_2M, PG_LEVEL_4K } from '../mmu/level.ts';
import { type Memslot, SlotFlag } from '../mmu/memslot.ts';
import {
  kvmArchFlushRemoteTlbsMemslot,
  kvmMmuSlotLeafClearDirty,
  kvmMmuSlotRemoveWriteAccess,
  kvmMmuSlotTrySplitHugePages,
  kvmMmuZapCollapsibleSptes,
} from '../mmu/slot-ops.ts';
import { kvmMmuZapAllFast, kvmMmuZapMemslot } from '../mmu/zap-all.ts';

/** What KVM_SET_USER_MEMORY_REGION does with a slot (enum kvm_mr_change). */
export type SlotChange = 'create' | 'delete' | 'move' | 'flags';

/** Removes all translations of a slot that is about to go: faults find it invalid and retry, so none comes back. */
export function* flushShadowMemslot(kvm: Kvm, slot: Memslot): Task<void> {
  const zapAll = !kvm.generation.slotZapAllQuirk || kvm.params.get('slotZapAll') !== 0;
  if (zapAll) yield* kvmMmuZapAllFast(kvm);
  else yield* kvmMmuZapMemslot(kvm, slot);
}

/** Brings the SPTEs of a slot whose flags changed in line with them. */
export function* applySlotFlags(kvm: Kvm, old: Memslot | null, next: Memslot | null, change: SlotChange): Task<void> {
  const oldFlags = old === null ? 0 : old.flags;
  const newFlags = next === null ? 0 : next.flags;
  const toggled = ((oldFlags ^ newFlags) & SlotFlag.logDirty) !== 0;
  const logs = (newFlags & SlotFlag.logDirty) !== 0;
  // This comes first, and for all changes: from here on the processors log or do not.
  if (toggled) yield* updateCpuDirtyLogging(kvm, logs);
  // Read-only slots are never dirtied; what is created has no SPTEs yet, and what goes has none any more.
  if (next === null || change !== 'flags' || (newFlags & SlotFlag.readonly) !== 0 || !toggled) return;
  if (logs) yield* enableLogging(kvm, next);
  // Under slots_lock, so that the slot cannot begin to log again meanwhile.
  else if (kvm.bugs['reset-to-huge-while-logging'] !== true) yield* kvmMmuZapCollapsibleSptes(kvm, next);
}

function* enableLogging(kvm: Kvm, slot: Memslot): Task<void> {
  // All pages are reported dirty at first: nothing need be protected before CLEAR.
  if (kvm.params.initiallySet && kvm.bugs['initially-set-protects-huge-eagerly'] !== true) return;
  if (kvm.params.eagerPageSplit && kvm.generation.eagerPageSplit) yield* kvmMmuSlotTrySplitHugePages(kvm, slot, PG_LEVEL_4K);
  let changed = false;
  if (kvm.params.pml) {
    changed = yield* kvmMmuSlotLeafClearDirty(kvm, slot);
    // Huge pages are logged by their first write, which splits them.
    if (yield* kvmMmuSlotRemoveWriteAccess(kvm, slot, PG_LEVEL_2M)) changed = true;
  } else {
    changed = yield* kvmMmuSlotRemoveWriteAccess(kvm, slot, PG_LEVEL_4K);
  }
  // Even if nothing was writable any more: aging takes W away without a flush, and vCPUs may still write by old entries.
  const always = kvm.generation.unconditionalFlushOnEnable && kvm.bugs['enable-logging-conditional-flush'] !== true;
  if (always || changed) yield* kvmArchFlushRemoteTlbsMemslot(kvm, slot);
}

/** Tells the vCPUs to turn page-modification logging on with the first slot that logs, off with the last. */
function* updateCpuDirtyLogging(kvm: Kvm, enable: boolean): Task<void> {
  if (!kvm.params.pml) return;
  const slots = kvm.memory.load32(own(kvm.word(KvmWord.dirtyLogging)));
  if ((enable && slots === 1) || slots === 0) {
    // A vCPU looks at the count whenever it enters the guest, so leaving it is all that is asked.
    yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.outsideGuestMode, { wait: true });
  }
}
