/**
 * Faults on MMIO SPTEs (kernel: handle_mmio_page_fault, check_mmio_spte, get_mmio_spte in mmu.c).
 *
 * Such an SPTE makes the hardware report a reserved bit; it carries the memslot generation it was made under, and is stale
 * as soon as the memslots changed. A vCPU remembers the last such gfn, and does not even look at its SPTE when it comes
 * again; nested guests do without, for what they fault on is no gfn of the guest's.
 */
import type { Task } from '../machine/point.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, PG_LEVEL_4K } from './level.ts';
import { locklessWalkBegin, locklessWalkEnd } from './lockless-walk.ts';
import type { SlotGeneration } from './memslot-lookup.ts';
import { type PageFault, RetPf } from './page-fault-info.ts';
import { MMIO_GEN_BITS, type Spte } from './spte.ts';
import { tdpIterNext, tdpIterStart } from './tdp-iter.ts';
import type { VcpuMmu } from './vcpu-mmu.ts';
import { kvmMmuZapAllFast } from './zap-all.ts';

function* lastSpte(kvm: Kvm, vcpu: VcpuMmu, gfn: Gfn): Task<Spte> {
  const { iter } = vcpu;
  const end = (gfn + 1) as Gfn;
  let spte = kvm.spte.nonpresent;
  yield* locklessWalkBegin(kvm, vcpu);
  yield* tdpIterStart(kvm, iter, vcpu.root, PG_LEVEL_4K, gfn);
  for (; iter.inside(end); yield* tdpIterNext(kvm, iter)) spte = iter.oldSpte;
  yield* locklessWalkEnd(kvm, vcpu);
  return spte;
}

/**
 * Zaps everything where the generation that MMIO SPTEs carry has come round to 0, for one made long ago would look current
 * (kvm_mmu_invalidate_mmio_sptes). `generation` moves by `addressSpaces` at a time. The caller holds slots_lock.
 */
export function* kvmMmuInvalidateMmioSptes(kvm: Kvm, generation: number, addressSpaces: number): Task<void> {
  const carried = generation % 2 ** MMIO_GEN_BITS;
  if (carried < addressSpaces) yield* kvmMmuZapAllFast(kvm);
}

/** Remembers that `gfn` is MMIO, unless the memslots are just changing (vcpu_cache_mmio_info). */
export function* vcpuCacheMmioInfo(kvm: Kvm, vcpu: VcpuMmu, gfn: Gfn): Task<void> {
  const { number, inProgress } = yield* kvm.slots.generation(kvm);
  if (inProgress && kvm.bugs['mmio-cached-while-slots-in-flux'] !== true) return;
  vcpu.mmioGfn = gfn;
  vcpu.mmioGeneration = number;
}

/** Whether `gfn` is what the vCPU remembers, and the memslots are what they were (mmio_info_in_cache). */
function mmioInfoInCache(vcpu: VcpuMmu, gfn: Gfn, generation: SlotGeneration): boolean {
  if (vcpu.guestMode || vcpu.mmioGfn === 0 || vcpu.mmioGfn !== gfn) return false;
  return vcpu.mmioGeneration === generation.number && !generation.inProgress;
}

/** Emulates the access where the SPTE's generation is current; `RetPf.invalid` where the page must be looked up again. */
export function* handleMmioPageFault(kvm: Kvm, vcpu: VcpuMmu, fault: PageFault): Task<RetPf> {
  if (mmioInfoInCache(vcpu, fault.gfn, yield* kvm.slots.generation(kvm))) return RetPf.emulate;
  const spte = yield* lastSpte(kvm, vcpu, fault.gfn);
  if (!kvm.spte.isMmio(spte)) return RetPf.retry;
  const { number, inProgress } = yield* kvm.slots.generation(kvm);
  const current = number % 2 ** MMIO_GEN_BITS;
  kvm.trace?.checkMmioSpte(spte, current, kvm.spte.mmioGeneration(spte));
  const flux = inProgress && kvm.bugs['mmio-cached-while-slots-in-flux'] !== true;
  if (flux || kvm.spte.mmioGeneration(spte) !== current) return RetPf.invalid;
  kvm.trace?.handleMmioPageFault(fault.gfn, kvm.spte.format.mmioAccess.lo);
  yield* vcpuCacheMmioInfo(kvm, vcpu, fault.gfn);
  return RetPf.emulate;
}
