/**
 * The user-space side of the VM: creating slots as the selftests do, and what a migrating VMM does with a dirty log: it sends
 * each page that the log reports, after the log was cleared.
 */
import { Cost } from '../../machine/cost.ts';
import { InvariantError } from '../../machine/invariant.ts';
import { own, read, spend, type Task } from '../../machine/point.ts';
import type { Pfn } from '../../mmu/level.ts';
import type { Memslot } from '../../mmu/memslot.ts';
import { clearDirtyLog, getDirtyLog } from '../../vm/dirty-log.ts';
import { errnoName } from '../../vm/errno.ts';
import { FREE_FRAME } from '../../vm/frames.ts';
import { isPresent, isZeroPage } from '../../vm/host-pte.ts';
import { lockedPte, readHostPte } from '../../vm/host-space.ts';
import { setUserMemoryRegion, type UserMemoryRegion } from '../../vm/set-memory-region.ts';
import type { Vm } from '../../vm/vm.ts';
import type { WorkloadOptions } from '../workload.ts';
import type { Control } from './control.ts';
import { CODE_PAGES, CODE_REGION, CODE_SLOT, memstressLayout, TEST_REGION, TEST_SLOT } from './memstress-layout.ts';

/** The ioctl, which must not fail. Errors: ioctl-failed. */
export function* setRegion(vm: Vm, region: UserMemoryRegion): Task<void> {
  const result = yield* setUserMemoryRegion(vm, region);
  if (result !== 0) throw ioctlFailed('KVM_SET_USER_MEMORY_REGION', region.slot, result);
}

export function ioctlFailed(name: string, slot: number, result: number): InvariantError {
  return new InvariantError('ioctl-failed', `${name} of slot ${slot} returned ${errnoName(result)}`);
}

/** The test slots of a selftest's guest. */
export function testSlots(options: WorkloadOptions): UserMemoryRegion[] {
  const { baseGfn, pagesPerSlot, slots } = memstressLayout(options);
  return Array.from({ length: slots }, (_, i) => ({
    slot: TEST_SLOT + i,
    baseGfn: baseGfn + i * pagesPerSlot,
    pages: pagesPerSlot,
    region: TEST_REGION,
    regionPage: i * pagesPerSlot,
  }));
}

/** Creates slot 0 and the test slots. */
export function* createSlots(vm: Vm, options: WorkloadOptions): Task<void> {
  yield* setRegion(vm, { slot: CODE_SLOT, baseGfn: 0, pages: CODE_PAGES, region: CODE_REGION });
  for (const slot of testSlots(options)) yield* setRegion(vm, slot);
}

/** The versions of pages that have been sent: a word for each page of each region, in the workload's data. */
export class SentPages {
  readonly #control: Control;
  readonly #first: readonly number[];

  /** `at`: first word of the workload's data that it may use. */
  constructor(control: Control, vm: Vm, at = 0) {
    this.#control = control;
    let next = at;
    this.#first = vm.config.memory.map(({ pages }) => {
      const first = next;
      next += pages;
      return first;
    });
  }

  get(region: number, page: number): number {
    return this.#control.memory.load32(own(this.#control.data(this.#first[region] + page)));
  }

  set(region: number, page: number, version: number): void {
    this.#control.memory.store32(own(this.#control.data(this.#first[region] + page)), version);
  }
}

/** Version of the page's contents as a reader in user space finds it now; 0 for a page that was never written. */
function* versionOf(vm: Vm, regionIndex: number, page: number): Task<number> {
  const region = vm.space.regions[regionIndex];
  const pte = yield* readHostPte(vm.space, region, page);
  if (!isPresent(pte) || isZeroPage(pte)) return 0;
  const version = vm.memory.load32(yield read(vm.space.frames.contentWord(vm.space.pfn(region, page, pte))));
  return version === FREE_FRAME ? 0 : version;
}

/**
 * What was sent of a guest page, for oracles over a state at rest: the frame that it has now, and the version that was sent.
 * Nothing where the page was never sent, and nothing for slots of other address spaces than that in which the guests run:
 * the same memory may be in several, and a write is logged only where it was made. Only for hosts that drop no pages: a page
 * that comes back begins at version 0.
 */
export function sentVersion(vm: Vm, sent: SentPages, slot: Memslot, gfn: number): { pfn: Pfn; version: number } | undefined {
  if (slot.asId !== 0) return undefined;
  const region = vm.space.regions[slot.region];
  const page = slot.regionPage + gfn - slot.baseGfn;
  const version = sent.get(slot.region, page);
  const pte = lockedPte(vm.space, region, page);
  return version === 0 || !isPresent(pte) ? undefined : { pfn: vm.space.pfn(region, page, pte), version };
}

/** Sends the pages of `slot` that `bitmap` names. Returns how many. */
export function* sendPages(vm: Vm, sent: SentPages | null, slot: UserMemoryRegion, bitmap: Uint32Array): Task<number> {
  const { region, regionPage = 0 } = slot;
  let pages = 0;
  for (let i = 0; i < bitmap.length; i++) {
    for (let bits = bitmap[i]; bits !== 0; bits &= bits - 1) {
      pages++;
      if (sent === null) continue;
      const page = regionPage + 32 * i + (31 - Math.clz32(bits & -bits));
      sent.set(region, page, yield* versionOf(vm, region, page));
    }
  }
  yield spend(Cost.userPage, pages);
  return pages;
}

/** Sends all pages of `slot`: a migration's first pass, where the log does not begin with all pages dirty. */
export function* sendAll(vm: Vm, sent: SentPages, slot: UserMemoryRegion): Task<void> {
  const { region, regionPage = 0 } = slot;
  for (let page = regionPage; page < regionPage + slot.pages; page++) sent.set(region, page, yield* versionOf(vm, region, page));
}

/**
 * With the vCPUs at rest and the log just harvested, what was sent is what there is.
 * Errors: dirty-page-lost.
 */
export function* checkNothingLost(vm: Vm, sent: SentPages, slot: UserMemoryRegion): Task<void> {
  const { region, regionPage = 0 } = slot;
  for (let page = regionPage; page < regionPage + slot.pages; page++) {
    const version = yield* versionOf(vm, region, page);
    const last = sent.get(region, page);
    if (version === last) continue;
    const gfn = slot.baseGfn + page - regionPage;
    throw new InvariantError(
      'dirty-page-lost',
      `gfn 0x${gfn.toString(16)} of slot ${slot.slot} was written after it was sent (version ${last} sent, ${version} in memory), and no later dirty log reported it`,
    );
  }
}

/** KVM_GET_DIRTY_LOG, which must not fail. */
export function* getLog(vm: Vm, slot: UserMemoryRegion): Task<Uint32Array> {
  const { result, bitmap } = yield* getDirtyLog(vm, slot);
  if (result !== 0) throw ioctlFailed('KVM_GET_DIRTY_LOG', slot.slot, result);
  return bitmap;
}

/** KVM_CLEAR_DIRTY_LOG of a whole slot, which must not fail. */
export function* clearLog(vm: Vm, slot: UserMemoryRegion, bitmap: Uint32Array): Task<void> {
  const { slot: id, asId, pages } = slot;
  const result = yield* clearDirtyLog(vm, { slot: id, asId, firstPage: 0, pages, bitmap });
  if (result !== 0) throw ioctlFailed('KVM_CLEAR_DIRTY_LOG', id, result);
}

/** The slot of that number as it is now, or null. */
export function* findSlot(vm: Vm, id: number, asId = 0): Task<Memslot | null> {
  return (yield* vm.slots.all(vm.kvm, asId)).find((slot) => slot.id === id) ?? null;
}
