import { describe, expect, it } from 'vitest';
import { own, type Task } from '../../src/machine/point.ts';
import { rcuReadLock } from '../../src/machine/rcu.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { ageGfnRange } from '../../src/mmu/gfn-range.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { mmuReadLock, mmuWriteLock, mmuWriteUnlock } from '../../src/mmu/mmu-lock.ts';
import { PfErr, RetPf } from '../../src/mmu/page-fault-info.ts';
import { setSpte, setSpteAtomic, UpdateKind } from '../../src/mmu/set-spte.ts';
import { kvmMmuSlotLeafClearDirty } from '../../src/mmu/slot-ops.ts';
import { TdpIter, tdpIterNext, tdpIterStart } from '../../src/mmu/tdp-iter.ts';
import { MmuMachine } from './mmu-machine.ts';

const small = { entries: 4, maxGfn: 256, tablePages: 128 } as const;

/** A machine with gfn 5 mapped, and the address of its leaf. */
function mapped() {
  const m = new MmuMachine(small);
  m.run(m.fault(0, 5));
  const kvm = m.kvms[2];
  const table = m.dump().find(({ gfn, level }) => gfn === 4 && level === 2)!;
  return { m, kvm, sptep: kvm.pages.sptep(table.spte.lo >>> 12, 1) };
}

describe('frozen SPTEs', () => {
  it('are waited for by faults: they retry, and walk on when it has thawed', () => {
    const { m, kvm, sptep } = mapped();
    m.memory.store64(own(sptep), kvm.spte.frozen);
    expect(m.run(m.fault(1, 5))).toBe(RetPf.retry);
    expect(m.counter(MmuCounter.frozen_met_fault)).toBe(1);
    expect(m.run(m.fault(1, 5, PfErr.write | PfErr.present))).toBe(RetPf.retry);
    expect(m.counter(MmuCounter.frozen_met_fast)).toBe(1);
    m.memory.store64(own(sptep), kvm.spte.nonpresent);
    expect(m.run(m.fault(1, 5))).toBe(RetPf.fixed);
  });

  it('must not be replaced by anybody else under the read lock', () => {
    const { m, kvm, sptep } = mapped();
    m.memory.store64(own(sptep), kvm.spte.frozen);
    function* overwrite(): Task<void> {
      const iter = new TdpIter(kvm.spte.nonpresent);
      yield* mmuReadLock(kvm, 0);
      yield* rcuReadLock(kvm.rcu, kvm.thread);
      yield* tdpIterStart(kvm, iter, m.vcpus[0].root, 1, asGfn(5));
      while (iter.level > 1) yield* tdpIterNext(kvm, iter);
      yield* setSpteAtomic(kvm, iter, kvm.spte.nonpresent, UpdateKind.leaf);
    }
    expect(() => m.run(overwrite())).toThrow('about to be replaced by another thread');
  });

  it.each(['old', 'new'] as const)('have no place as the %s value under the write lock', (which) => {
    const { m, kvm, sptep } = mapped();
    const { frozen, nonpresent } = kvm.spte;
    function* set(): Task<void> {
      yield* mmuWriteLock(kvm, 0);
      const [old, next] = which === 'old' ? [frozen, nonpresent] : [nonpresent, frozen];
      yield* setSpte(kvm, 0, sptep, old, next, asGfn(5), 1);
      yield* mmuWriteUnlock(kvm);
    }
    expect(() => m.run(set())).toThrow('from or to the frozen value under the write lock');
  });

  it('are no pages to protect: clearing D tests for presence each time that it looks', () => {
    const { m, kvm, sptep } = mapped();
    m.memory.store64(own(sptep), kvm.spte.frozen);
    expect(m.run(kvmMmuSlotLeafClearDirty(kvm, m.slots[0]))).toBe(false);
    expect(kvm.spte.isFrozen(m.memory.load64(own(sptep)))).toBe(true);
  });
});

describe('tables', () => {
  it('take their role from the parent: one level less, all else the same, nested or not', () => {
    const m = new MmuMachine(small);
    m.vcpus[1].guestMode = true;
    m.vcpus[1].asId = 0;
    m.run(m.fault(0, 5));
    m.run(m.fault(1, 5));
    const { pages } = m.kvms[0];
    for (const { root } of m.vcpus) {
      const roles = m
        .dump(root)
        .filter((row) => row.table)
        .map(({ spte }) => pages.role(spte.lo >>> 12));
      expect(roles).toEqual([3, 2, 1].map((level) => (pages.role(root) & ~15) | level));
    }
    expect(pages.role(m.vcpus[0].root)).not.toBe(pages.role(m.vcpus[1].root));
  });
});

describe('walks over roots that never yield', () => {
  it('need mmu_lock held for write: the notifier hooks refuse the read lock', () => {
    const { m, kvm } = mapped();
    function* age(): Task<void> {
      yield* mmuReadLock(kvm, 0);
      yield* ageGfnRange(kvm, m.slots[0], asGfn(0), asGfn(8));
    }
    expect(() => m.run(age())).toThrow('mmu_lock is not held for write');
  });
});
