import { describe, expect, it } from 'vitest';
import { mutexLock, mutexUnlock } from '../../src/machine/mutex.ts';
import { PageState } from '../../src/machine/page-allocator.ts';
import { rcuBarrier } from '../../src/machine/rcu.ts';
import { kvmFlushRemoteTlbs } from '../../src/mmu/flush.ts';
import type { KernelName } from '../../src/mmu/generation.ts';
import { unmapGfnRange } from '../../src/mmu/gfn-range.ts';
import type { Kvm } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { mmuWriteLock, mmuWriteUnlock } from '../../src/mmu/mmu-lock.ts';
import { PfErr, RetPf } from '../../src/mmu/page-fault-info.ts';
import { kvmMmuFreeObsoleteRoots, kvmMmuUnload } from '../../src/mmu/root-load.ts';
import { kvmMmuSlotRemoveWriteAccess, kvmMmuSlotTrySplitHugePages, kvmMmuZapCollapsibleSptes } from '../../src/mmu/slot-ops.ts';
import { isWritable } from '../../src/mmu/spte.ts';
import { VmStat, vmStat } from '../../src/mmu/vm-stat.ts';
import { kvmMmuZapAllFast } from '../../src/mmu/zap-all.ts';
import { MmuMachine, slotOf } from './mmu-machine.ts';

const small = { entries: 4, maxGfn: 256, tablePages: 96 } as const;

function* unmap(m: MmuMachine, kvm: Kvm, start: number, end: number) {
  yield* mmuWriteLock(kvm, 0);
  if (yield* unmapGfnRange(kvm, m.slots[0], asGfn(start), asGfn(end), false, true)) yield* kvmFlushRemoteTlbs(kvm);
  yield* mmuWriteUnlock(kvm);
}

function* zapAllFast(kvm: Kvm) {
  yield* mutexLock(kvm.slotsLock, kvm.thread, 0);
  yield* kvmMmuZapAllFast(kvm);
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
}

function* faults(m: MmuMachine, id: number, gfns: readonly number[]) {
  for (const gfn of gfns) {
    while ((yield* m.fault(id, gfn)) === RetPf.retry) yield* kvmMmuFreeObsoleteRoots(m.kvms[id], m.vcpus[id]);
  }
}

const stateOf = (m: MmuMachine, page: number) => m.kvms[0].allocator.stateOf(m.memory, page);

describe('zapping', () => {
  it('of a range takes the leaves and leaves the tables', () => {
    const m = new MmuMachine(small);
    m.run(faults(m, 0, [0, 1, 2, 17]));
    m.run(unmap(m, m.kvms[2], 1, 18));
    expect(m.leaves().map((row) => row.gfn)).toEqual([0]);
    expect(vmStat(m.kvms[0], VmStat.tdpMmuPages)).toBe(5);
  });

  it.each(['6.12', '6.13'] as KernelName[])('of all roots gives every page back on %s', (kernel) => {
    for (let seed = 0; seed < 40; seed++) {
      const m = new MmuMachine({ ...small, kernel });
      m.run(faults(m, 0, [0, 1, 17, 64]));
      const root = m.vcpus[0].root;
      m.together(seed, zapAllFast(m.kvms[2]), faults(m, 1, [0, 2, 65]));
      expect(m.dump(root), `seed ${seed}`).toEqual([]);
      for (const id of [0, 1]) m.run(kvmMmuFreeObsoleteRoots(m.kvms[id], m.vcpus[id]));
      for (const id of [0, 1]) m.run(kvmMmuUnload(m.kvms[id], m.vcpus[id]));
      m.run(zapAllFast(m.kvms[2]));
      m.run(rcuBarrier(m.kvms[2].rcu, m.kvms[2].allocator, m.kvms[2].thread));
      const live = Array.from({ length: small.tablePages - 1 }, (_, i) => stateOf(m, i + 1));
      expect(live.filter((state) => state === PageState.live || state === PageState.rcu)).toEqual([]);
      expect([0, 1, 2, 3].map((s) => vmStat(m.kvms[0], s))).toEqual([0, 0, 0, 0]);
    }
  });

  it('races with faults, splits, protection and collapse without breaking a rule', () => {
    for (let seed = 0; seed < 400; seed++) {
      const m = new MmuMachine({ ...small, hostLevel: 2, needResched: () => seed % 3 === 0 });
      m.run(faults(m, 0, [0, 20]));
      m.together(
        seed,
        faults(m, 0, [0, 1, 21, 64]),
        unmap(m, m.kvms[2], 0, 24),
        (function* () {
          const kvm = m.kvms[3];
          yield* kvmMmuSlotTrySplitHugePages(kvm, m.slots[0], 1);
          yield* kvmMmuSlotRemoveWriteAccess(kvm, m.slots[0], 1);
          yield* kvmMmuZapCollapsibleSptes(kvm, m.slots[0]);
        })(),
      );
      const counted = [1, 2, 3].map((level) => m.leaves().filter((row) => row.level === level).length);
      expect(
        [0, 1, 2].map((s) => vmStat(m.kvms[0], s)),
        `seed ${seed}`,
      ).toEqual(counted);
    }
  });
});

describe('dirty logging', () => {
  it('splits eagerly, protects, and lets the fast path write again', () => {
    const m = new MmuMachine({ hostLevel: 2 });
    m.run(faults(m, 0, [0]));
    m.slots = [slotOf({ flags: 1, dirtyBitmap: m.bitmap, npages: 1024 })];
    m.run(kvmMmuSlotTrySplitHugePages(m.kvms[2], m.slots[0], 1));
    m.run(kvmMmuSlotRemoveWriteAccess(m.kvms[2], m.slots[0], 1));
    expect(m.leaves().length).toBe(512);
    expect(m.leaves().some((row) => isWritable(row.spte))).toBe(false);
    expect(m.run(m.fault(0, 33, PfErr.present | PfErr.write))).toBe(RetPf.fixed);
    expect(
      m
        .leaves()
        .filter((row) => isWritable(row.spte))
        .map((row) => row.gfn),
    ).toEqual([33]);
    expect(m.memory.words[m.bitmap + 1]).toBe(2);
  });
});
