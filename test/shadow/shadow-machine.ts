/** A VM with the rmap-based MMU, and what must hold of it whenever nobody runs. */
import { expect } from 'vitest';
import { drainPageCache } from '../../src/machine/page-cache.ts';
import { own, type Task } from '../../src/machine/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../src/machine/srcu.ts';
import { asGfn, type Level } from '../../src/mmu/level.ts';
import { PageHeader } from '../../src/mmu/mmu-page.ts';
import { kvmWriteTrackAddGfn } from '../../src/mmu/page-track.ts';
import { isShadowPresentLeaf, isWritable, spteToChildPage } from '../../src/mmu/spte.ts';
import { checkVm } from '../../src/oracles/index.ts';
import { type AuditFinding, activePages, auditShadow, shadowRoots } from '../../src/shadow/audit.ts';
import type { ShadowLayout } from '../../src/shadow/shadow-layout.ts';
import { touchPages } from '../../src/vm/guest-programs.ts';
import { clearDirtyLog, destroyVm } from '../../src/vm/ioctl.ts';
import type { AccessKind } from '../../src/vm/page-walker.ts';
import { vcpuDestroy } from '../../src/vm/vcpu-run.ts';
import type { VmConfig } from '../../src/vm/vm-config.ts';
import { VmMachine, type VmMachineOptions } from '../vm/vm-machine.ts';

export const SHADOW: Partial<VmConfig> = { mmu: 'shadow', maxMemslots: 4 };

/** Tables of four entries: a huge page is four pages, the slot sixteen. */
export const SMALL_SHADOW: Partial<VmConfig> = {
  ...SHADOW,
  vcpus: 2,
  entries: 4,
  maxGfn: 256,
  tablePages: 128,
  trackContents: true,
  memory: [{ name: 'A', type: 'thp', pages: 16, populate: true }],
};

export class ShadowMachine extends VmMachine {
  constructor(options: VmMachineOptions = {}) {
    super({ ...options, config: { ...SHADOW, ...options.config } });
  }

  get shadow(): ShadowLayout {
    const { shadow } = this.layout;
    if (shadow === null) throw new Error('this VM has the TDP MMU');
    return shadow;
  }

  audit(): readonly AuditFinding[] {
    const { slots, kvm } = this.ioctl;
    return auditShadow(
      kvm,
      this.shadow,
      slots.sets.map((sets) => sets.decode(this.memory.load32(own(sets.active)))),
    );
  }

  get pages(): readonly number[] {
    return activePages(this.ioctl.kvm, this.shadow);
  }

  get roots(): readonly number[] {
    return shadowRoots(this.ioctl.kvm, this.shadow);
  }

  rootCount(root: number): number {
    return this.memory.load32(own(this.ioctl.kvm.pages.word(root, PageHeader.rootCount)));
  }

  /** What must hold when nobody runs: the audit, the pages, the references of the roots, and no lock held. */
  expectSound(): void {
    expect(this.audit()).toEqual([]);
    const vcpuRoots = (id: number): number[] => [this.vcpus[id].mmu.root, ...this.vcpus[id].mmu.prevRoots];
    const cachedPages = this.vcpus.flatMap(({ mmu }) => mmu.pageCache.pages);
    const reports = checkVm(this.ioctl, { vcpuRoots, cachedPages });
    expect(reports.flatMap(({ violations }) => violations)).toEqual([]);
    for (const vm of this.vms) expect(vm.thread.holdsNothing()).toBe(true);
    const held = this.vcpus.flatMap(({ mmu }) => [mmu.root, ...mmu.prevRoots]);
    for (const root of this.roots) expect(this.rootCount(root)).toBe(held.filter((r) => r === root).length);
    const inHand = this.vcpus.reduce((sum, { mmu }) => sum + mmu.pageCache.pages.length, 0);
    expect(this.ioctl.kvm.allocator.usedPages(this.memory)).toBe(this.pages.length + inHand);
  }

  /** Destroys the VM: every page must come back, and every block of the heap but the host's page tables. */
  expectAllReturned(heapWordsBefore: number): void {
    const { vcpus } = this;
    const { kvm } = this.ioctl;
    this.run(
      destroyVm(this.ioctl, function* () {
        for (const vcpu of vcpus) yield* vcpuDestroy(vcpu);
      }),
    );
    for (const { mmu, thread } of vcpus) this.run(drainPageCache(mmu.pageCache, kvm.allocator, thread));
    expect(kvm.allocator.usedPages(this.memory)).toBe(0);
    expect(this.ioctl.space.heap.usedWords()).toBe(heapWordsBefore);
  }

  /** The sum of a counter over all threads. */
  count(index: number): number {
    return this.vms.reduce((sum, vm) => sum + vm.thread.counters[index], 0);
  }

  /** Whether the leaf of `gfn` at `level` in vCPU 0's tables is writable. */
  leafWritable(gfn: number, level: Level = 1): boolean {
    const { geometry, pages } = this.ioctl.kvm;
    let page = this.vcpus[0].mmu.root;
    for (let at = geometry.rootLevel; ; at--) {
      const spte = this.memory.load64(own(pages.sptep(page, geometry.index(asGfn(gfn), at))));
      if (at === level) {
        if (!isShadowPresentLeaf(spte, level)) throw new RangeError(`gfn ${gfn} is not mapped at level ${level}`);
        return isWritable(spte);
      }
      page = spteToChildPage(spte);
    }
  }

  /** Begins to track writes to `gfn`. */
  *trackWrites(gfn: number): Task<void> {
    const { kvm } = this.ioctl;
    const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
    const slot = yield* kvm.slots.find(kvm, 0, asGfn(gfn));
    yield* kvmWriteTrackAddGfn(kvm, slot!, asGfn(gfn));
    yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
  }

  /** CLEAR of all of `pages` pages from `firstPage` on. */
  *clear(slot: number, firstPage: number, pages: number): Task<number> {
    const bitmap = new Uint32Array(Math.ceil(pages / 32)).fill(0xffff_ffff);
    return yield* clearDirtyLog(this.ioctl, { slot, firstPage, pages, bitmap });
  }

  *guest(vcpu: number, first: number, count: number, kind: AccessKind): Task<unknown> {
    return yield* touchPages(this.vcpus[vcpu], { first: asGfn(first), count, stride: 1 }, kind);
  }
}

export function* inTurn(...tasks: Task<unknown>[]): Task<void> {
  for (const task of tasks) yield* task;
}
