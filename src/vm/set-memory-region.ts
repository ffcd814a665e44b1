/**
 * KVM_SET_USER_MEMORY_REGION: creating, deleting, moving a memslot, and changing its flags (kernel: kvm_set_memory_region,
 * kvm_set_memslot, kvm_prepare_memory_region, kvm_commit_memory_region in virt/kvm/kvm_main.c; their kvm_arch_ halves in
 * arch/x86/kvm/x86.c).
 *
 * A slot that goes or moves is first published as invalid, so that faults wait while its SPTEs are zapped, and then left
 * out: all its SPTEs are gone before it is, because later notifiers can no longer find it.
 */
import { Cost } from '../machine/cost.ts';
import { mutexLock, mutexUnlock } from '../machine/mutex.ts';
import { type Address, own, spend, type Task, write } from '../machine/point.ts';
import { synchronizeSrcu } from '../machine/srcu.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import { asGfn } from '../mmu/level.ts';
import { type Memslot, SlotFlag, slotEnd } from '../mmu/memslot.ts';
import { mmuWriteLock, mmuWriteUnlock } from '../mmu/mmu-lock.ts';
import { Site } from '../mmu/site.ts';
import { kvmMmuZapCollapsibleSptes } from '../mmu/slot-ops.ts';
import { applySlotFlags, flushShadowMemslot, type SlotChange } from './apply-slot-flags.ts';
import { allocDirtyBitmap, dirtyBitmapWords, freeDirtyBitmap } from './dirty-bitmap.ts';
import { Errno } from './errno.ts';
import { type SwapWait, swapActiveMemslots } from './memslots.ts';
import { allocSlotRmaps, freeSlotRmaps } from './slot-rmaps.ts';
import type { Vm } from './vm.ts';
import { VmCounter } from './vm-counters.ts';
import { ADDRESS_SPACES, VmWord } from './vm-layout.ts';

/** KVM_MEM_MAX_NR_PAGES: what one slot can hold. */
export const MEMSLOT_MAX_PAGES = 2 ** 31 - 1;

/** struct kvm_userspace_memory_region: numbers of pages for bytes, a region and a page in it for the userspace address. */
export interface UserMemoryRegion {
  readonly slot: number;
  readonly asId?: number;
  readonly flags?: number;
  readonly baseGfn: number;
  /** 0 deletes the slot. */
  readonly pages: number;
  /** Index of the host's region. */
  readonly region: number;
  readonly regionPage?: number;
}

/** The ioctl. Returns 0 or a negative errno: EINVAL, EEXIST (it would overlap another slot), ENOMEM. */
export function* setUserMemoryRegion(vm: Vm, mem: UserMemoryRegion): Task<number> {
  const { kvm } = vm;
  yield spend(Cost.syscall);
  yield* mutexLock(kvm.slotsLock, kvm.thread, Site.kvm_set_memory_region);
  const result = yield* setMemoryRegion(vm, mem);
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
  if (kvm.bugs['reset-to-huge-while-logging'] === true && result === 0) yield* collapseUnlocked(vm, mem);
  return result;
}

/** Only for that fault: huge pages come back after slots_lock is released. */
function* collapseUnlocked(vm: Vm, { slot: id, asId = 0, flags = 0 }: UserMemoryRegion): Task<void> {
  const slot = (yield* vm.kvm.slots.all(vm.kvm, asId)).find((s) => s.id === id);
  if (slot !== undefined && (flags & SlotFlag.logDirty) === 0) yield* kvmMmuZapCollapsibleSptes(vm.kvm, slot);
}

const wholeNumber = (n: number): boolean => Number.isSafeInteger(n) && n >= 0;

function* setMemoryRegion(vm: Vm, mem: UserMemoryRegion): Task<number> {
  const { kvm } = vm;
  const { slot: id, asId = 0, flags = 0, baseGfn, pages, region, regionPage = 0 } = mem;
  if ((flags & ~(SlotFlag.logDirty | SlotFlag.readonly)) !== 0) return -Errno.EINVAL;
  if (![id, asId, baseGfn, pages, region, regionPage].every(wholeNumber)) return -Errno.EINVAL;
  if (asId >= ADDRESS_SPACES || id >= vm.config.maxMemslots || pages > MEMSLOT_MAX_PAGES) return -Errno.EINVAL;

  const slots = yield* kvm.slots.all(kvm, asId);
  const old = slots.find((s) => s.id === id) ?? null;
  if (pages === 0) return old === null ? -Errno.EINVAL : yield* setMemslot(vm, old, null, 'delete');

  if (region >= vm.space.regions.length) return -Errno.EINVAL;
  let change: SlotChange = 'create';
  if (old !== null) {
    const same = old.region === region && old.regionPage === regionPage && old.npages === pages;
    if (!same || ((flags ^ old.flags) & SlotFlag.readonly) !== 0) return -Errno.EINVAL;
    if (baseGfn !== old.baseGfn) change = 'move';
    else if (flags !== old.flags) change = 'flags';
    else return 0;
  }
  const next: Memslot = {
    id,
    asId,
    baseGfn: asGfn(baseGfn),
    npages: pages,
    flags,
    region,
    regionPage,
    dirtyBitmap: 0 as Address,
    bitmapWords: dirtyBitmapWords(pages),
  };
  if (change !== 'flags') {
    if (slots.some((s) => s.id !== id && baseGfn < slotEnd(s) && s.baseGfn < slotEnd(next))) return -Errno.EEXIST;
    if (slotEnd(next) > kvm.geometry.maxGfn) return -Errno.EINVAL;
  }
  return yield* setMemslot(vm, old, next, change);
}

/** Carries the change out (kvm_set_memslot). */
function* setMemslot(vm: Vm, old: Memslot | null, wanted: Memslot | null, change: SlotChange): Task<number> {
  const { kvm } = vm;
  const { asId } = (wanted ?? old)!;
  const sets = vm.slots.sets[asId];
  const current = yield* kvm.slots.all(kvm, asId);
  const others = current.filter((s) => s !== old);
  const sync: SwapWait = kvm.bugs['memslot-freed-without-srcu'] === true ? 'nobody' : 'readers';

  // Released by the swap.
  yield* mutexLock(kvm.slotsArchLock, kvm.thread, Site.kvm_set_memory_region);
  if (old !== null && (change === 'delete' || change === 'move')) {
    sets.stage([...others, { ...old, flags: old.flags | SlotFlag.invalid }]);
    yield* swapActiveMemslots(kvm, sets, sync);
    yield* flushShadowMemslot(kvm, old);
    yield* mutexLock(kvm.slotsArchLock, kvm.thread, Site.kvm_set_memory_region);
  }
  const next = yield* prepareSlot(vm, old, wanted, change);
  if (next === NO_MEMORY) {
    yield* abandonChange(kvm, vm, current, change, asId);
    return -Errno.ENOMEM;
  }
  sets.stage(next === null ? others : [...others, next]);
  const early = change === 'flags' && kvm.bugs['enable-logging-without-srcu-sync'] === true;
  yield* swapActiveMemslots(kvm, sets, early ? 'nobody' : sync);
  yield* commitSlot(vm, old, next, change);
  // Late: but the old set is rewritten by the next change.
  if (early) yield* synchronizeSrcu(kvm.srcu, kvm.thread);
  kvm.counters[VmCounter.memslot_changes]++;
  return 0;
}

/** What {@link prepareSlot} returns where there is no memory for a dirty bitmap or reverse maps. */
const NO_MEMORY = 'no memory';

/** The new slot with its reverse maps and its dirty bitmap: those it had, or new ones, or none (kvm_prepare_memory_region). */
function* prepareSlot(
  vm: Vm,
  old: Memslot | null,
  wanted: Memslot | null,
  change: SlotChange,
): Task<Memslot | null | typeof NO_MEMORY> {
  if (wanted === null) return null;
  const next = yield* withRmaps(vm, old, wanted, change);
  if (next === NO_MEMORY) return NO_MEMORY;
  if ((next.flags & SlotFlag.logDirty) === 0 || vm.kvm.params.get('dirtyRingSize') !== 0) return next;
  if (old !== null && old.dirtyBitmap !== 0) return { ...next, dirtyBitmap: old.dirtyBitmap };
  const dirtyBitmap = yield* allocDirtyBitmap(vm, next, vm.kvm.params.initiallySet);
  if (dirtyBitmap !== 0) return { ...next, dirtyBitmap };
  if (change !== 'flags' && next.rmaps !== undefined) yield* freeSlotRmaps(vm, next);
  return NO_MEMORY;
}

/** The slot with reverse maps, if the MMU has them. A slot that moves gets others: where they begin depends on its gfn. */
function* withRmaps(vm: Vm, old: Memslot | null, next: Memslot, change: SlotChange): Task<Memslot | typeof NO_MEMORY> {
  if (vm.layout.shadow === null) return next;
  if (change === 'flags') return { ...next, rmaps: old?.rmaps };
  const rmaps = yield* allocSlotRmaps(vm, next);
  return rmaps === null ? NO_MEMORY : { ...next, rmaps };
}

/** Puts the slots back as they were: a slot that was published as invalid becomes valid again. */
function* abandonChange(kvm: Kvm, vm: Vm, current: readonly Memslot[], change: SlotChange, asId: number): Task<void> {
  const sets = vm.slots.sets[asId];
  if (change === 'move') {
    sets.stage(current);
    yield* swapActiveMemslots(kvm, sets);
  } else {
    yield* mutexUnlock(kvm.slotsArchLock, kvm.thread);
  }
}

/** What follows the publication (kvm_commit_memory_region). */
function* commitSlot(vm: Vm, old: Memslot | null, next: Memslot | null, change: SlotChange): Task<void> {
  const { kvm } = vm;
  if (change === 'create' || change === 'delete') addMemslotPages(vm, (next?.npages ?? 0) - (old?.npages ?? 0));
  const logged = ((old?.flags ?? 0) & SlotFlag.logDirty) !== 0;
  const logs = ((next?.flags ?? 0) & SlotFlag.logDirty) !== 0;
  if (logged !== logs) {
    const word = kvm.word(KvmWord.dirtyLogging);
    kvm.memory.store32(yield write(word), kvm.memory.load32(own(word)) + (logs ? 1 : -1));
  }
  if (change === 'create' || change === 'delete') {
    // The limit of shadow pages follows from the memory; it is no limit of the TDP MMU's, so there is nothing to reclaim.
    yield* mmuWriteLock(kvm, Site.kvm_arch_commit_memory_region);
    yield* mmuWriteUnlock(kvm);
  }
  yield* applySlotFlags(kvm, old, next, change);
  // All readers of the old slot are gone since the swap, and all its SPTEs since before that.
  if (old !== null && old.dirtyBitmap !== 0 && old.dirtyBitmap !== next?.dirtyBitmap) yield* freeDirtyBitmap(vm, old);
  if (old?.rmaps !== undefined && change !== 'flags') yield* freeSlotRmaps(vm, old);
}

/** Counts the pages in all slots (nr_memslot_pages); under slots_lock. */
function addMemslotPages(vm: Vm, delta: number): void {
  const { memory } = vm.kvm;
  const low = (vm.layout.words + VmWord.memslotPages) as Address;
  const high = (low + 1) as Address;
  const pages = memory.load32(own(high)) * 2 ** 32 + (memory.load32(own(low)) >>> 0) + delta;
  memory.store32(own(low), pages | 0);
  memory.store32(own(high), Math.floor(pages / 2 ** 32));
}

/** Pages in all slots, for reports and checks. */
export function memslotPages(vm: Vm): number {
  const { memory } = vm.kvm;
  const low = (vm.layout.words + VmWord.memslotPages) as Address;
  return memory.load32(own((low + 1) as Address)) * 2 ** 32 + (memory.load32(own(low)) >>> 0);
}
