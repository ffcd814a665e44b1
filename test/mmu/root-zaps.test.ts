import { describe, expect, it } from 'vitest';
import { mutexLock, mutexUnlock } from '../../src/machine/mutex.ts';
import { PageState } from '../../src/machine/page-allocator.ts';
import { own, type Task } from '../../src/machine/point.ts';
import { rcuBarrier } from '../../src/machine/rcu.ts';
import { stopWorkqueue } from '../../src/machine/workqueue.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { kvmFlushRemoteTlbs } from '../../src/mmu/flush.ts';
import { KERNELS, type KernelName } from '../../src/mmu/generation.ts';
import { ageGfnRange, unmapGfnRange } from '../../src/mmu/gfn-range.ts';
import type { Kvm } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { mmuReadLock, mmuWriteLock, mmuWriteUnlock } from '../../src/mmu/mmu-lock.ts';
import { roleInvalid } from '../../src/mmu/mmu-page.ts';
import { RetPf } from '../../src/mmu/page-fault-info.ts';
import { kvmMmuFreeObsoleteRoots, kvmMmuUnload } from '../../src/mmu/root-load.ts';
import { kvmMmuSlotLeafClearDirty, kvmMmuSlotRemoveWriteAccess, kvmMmuSlotTrySplitHugePages } from '../../src/mmu/slot-ops.ts';
import type { MmuTrace, TracedOperation } from '../../src/mmu/trace.ts';
import { vmStat } from '../../src/mmu/vm-stat.ts';
import { kvmMmuUninitTdpMmu, kvmMmuZapAll, kvmMmuZapAllFast } from '../../src/mmu/zap-all.ts';
import { kvmZapGfnRange, tdpMmuZapLeafs } from '../../src/mmu/zap-leafs.ts';
import { tdpMmuZapWorker } from '../../src/mmu/zap-worker.ts';
import { type MachineOptions, MmuMachine } from './mmu-machine.ts';

const small = { entries: 4, maxGfn: 256, tablePages: 128 } as const;
const KERNEL_NAMES = Object.keys(KERNELS) as KernelName[];

function* zapAllFast(kvm: Kvm): Task<void> {
  yield* mutexLock(kvm.slotsLock, kvm.thread, 0);
  yield* kvmMmuZapAllFast(kvm);
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
}

function* faults(m: MmuMachine, id: number, gfns: readonly number[]): Task<void> {
  for (const gfn of gfns) {
    while ((yield* m.fault(id, gfn)) === RetPf.retry) yield* kvmMmuFreeObsoleteRoots(m.kvms[id], m.vcpus[id]);
  }
}

function* unmap(m: MmuMachine, kvm: Kvm, start: number, end: number): Task<void> {
  yield* mmuWriteLock(kvm, 0);
  if (yield* unmapGfnRange(kvm, m.slots[0], asGfn(start), asGfn(end), false, true)) yield* kvmFlushRemoteTlbs(kvm);
  yield* mmuWriteUnlock(kvm);
}

/** Pages in use, other than in caches. */
function inUse(m: MmuMachine): number {
  m.run(rcuBarrier(m.kvms[2].rcu, m.kvms[2].allocator, m.kvms[2].thread));
  const states = Array.from({ length: small.tablePages - 1 }, (_, i) => m.kvms[0].allocator.stateOf(m.memory, i + 1));
  return states.filter((state) => state === PageState.live || state === PageState.rcu).length;
}

/** A machine that writes down what it does to SPTEs and TLBs. */
function heard(options: MachineOptions): { m: MmuMachine; log: string[] } {
  const log: string[] = [];
  const said: Partial<MmuTrace> = {
    operation: (name: TracedOperation) => void log.push(name),
    zapRootPass: (_asId, level) => void log.push(`pass ${level}`),
    spteFrozen: (_sptep, gfn, level) => void log.push(`freeze ${gfn}:${level}`),
    spteChanged: (_asId, gfn, level, old) => void ((old.lo & (1 << 11)) !== 0 && log.push(`zap ${gfn}:${level}`)),
    yielded: (mode) => void log.push(`yield ${mode}`),
  };
  const trace = new Proxy(said as MmuTrace, { get: (target, name) => target[name as keyof MmuTrace] ?? (() => {}) });
  return { m: new MmuMachine({ ...small, trace, ...options }), log };
}

describe('the fast zap of all roots', () => {
  it.each(KERNEL_NAMES)('gives every page back, whatever is faulted in meanwhile (%s)', (kernel) => {
    for (let seed = 0; seed < 60; seed++) {
      const m = new MmuMachine({ ...small, kernel });
      m.run(faults(m, 0, [0, 1, 17, 64]));
      const { root } = m.vcpus[0];
      m.together(seed, zapAllFast(m.kvms[2]), faults(m, 1, [0, 2, 65]));
      expect(m.dump(root), `seed ${seed}`).toEqual([]);
      for (const id of [0, 1]) m.run(kvmMmuFreeObsoleteRoots(m.kvms[id], m.vcpus[id]));
      for (const id of [0, 1]) m.run(kvmMmuUnload(m.kvms[id], m.vcpus[id]));
      m.run(zapAllFast(m.kvms[2]));
      m.run(kvmMmuUninitTdpMmu(m.kvms[2]));
      expect(inUse(m)).toBe(0);
      expect([0, 1, 2, 3].map((stat) => vmStat(m.kvms[0], stat))).toEqual([0, 0, 0, 0]);
    }
  });

  it('freezes and flushes each entry of the root until 5.17; since 5.18 it does neither', () => {
    const zap = (kernel: KernelName) => {
      const { m, log } = heard({ kernel });
      m.run(faults(m, 0, [0, 64]));
      log.length = 0;
      m.run(zapAllFast(m.kvms[2]));
      return log.slice(log.indexOf('zap_invalidated_roots') + 1);
    };
    expect(zap('5.15')).toEqual([
      'pass 4', 'freeze 0:4', 'zap 0:4', 'zap 0:3', 'zap 0:2', 'zap 0:1', ...Array(4).fill('flush_all'),
      'freeze 64:4', 'zap 64:4', 'zap 64:3', 'zap 64:2', 'zap 64:1', ...Array(4).fill('flush_all'),
    ]); // biome-ignore format: rows
    expect(zap('5.18')).toEqual([
      'pass 3', 'zap 0:3', 'zap 0:2', 'zap 0:1', 'zap 64:3', 'zap 64:2', 'zap 64:1', 'pass 4', 'zap 0:4', 'zap 64:4',
    ]); // biome-ignore format: rows
    expect(zap('6.12')).toEqual([
      'pass 1', 'zap 0:1', 'zap 64:1', 'pass 2', 'zap 0:2', 'zap 64:2', 'pass 3', 'zap 0:3', 'zap 64:3',
      'pass 4', 'zap 0:4', 'zap 64:4',
    ]); // biome-ignore format: rows
  });

  it('flushes for each table and once for all roots when the process ends, until 5.17, and never since', () => {
    const flushes = (kernel: KernelName) => {
      const { m, log } = heard({ kernel });
      m.run(faults(m, 0, [0, 64]));
      log.length = 0;
      m.run(kvmMmuZapAll(m.kvms[2]));
      return log.filter((line) => line === 'flush_all').length;
    };
    expect(KERNEL_NAMES.map(flushes)).toEqual([2 * 3 + 1, 0, 0, 0, 0]);
  });
});

describe('the worker of 5.18', () => {
  it('zaps what it is given in a thread of its own, while the one who asked waits', () => {
    for (let seed = 0; seed < 60; seed++) {
      const m = new MmuMachine({ ...small, kernel: '5.18', zapWorker: true });
      m.run(faults(m, 0, [0, 1, 17, 64]));
      const { root } = m.vcpus[0];
      function* ioctl(): Task<void> {
        yield* zapAllFast(m.kvms[2]);
        // The promise of the fast zap: everything is gone when it returns.
        expect(m.dump(root), `seed ${seed}`).toEqual([]);
        yield* stopWorkqueue(m.kvms[2].zapQueue, m.kvms[2].thread);
      }
      m.together(seed, ioctl(), tdpMmuZapWorker(m.kvms[3]), faults(m, 1, [0, 2, 65]));
      expect(m.kvms[3].counters[MmuCounter.leaves_zapped]).toBe(4);
      expect(m.kvms[2].counters[MmuCounter.leaves_zapped]).toBe(0);
    }
  });

  it('gets defunct roots, too: notifiers find them until they are empty', () => {
    let found = 0;
    for (let seed = 0; seed < 200; seed++) {
      const m = new MmuMachine({ ...small, kernel: '5.18', zapWorker: true, needResched: (id) => id === 3 });
      m.run(faults(m, 0, [0, 1, 17, 64]));
      const { root } = m.vcpus[0];
      m.run(kvmMmuUnload(m.kvms[0], m.vcpus[0]));
      expect(roleInvalid(m.memory.load32(own(m.kvms[0].pages.word(root, 4))))).toBe(true);
      expect(m.dump(root).length).toBeGreaterThan(0);
      function* host(): Task<void> {
        yield* unmap(m, m.kvms[2], 0, 65);
        // The host's pages are its own again, whoever zapped them.
        expect(m.leaves(root), `seed ${seed}`).toEqual([]);
        yield* stopWorkqueue(m.kvms[2].zapQueue, m.kvms[2].thread);
      }
      m.together(seed, host(), tdpMmuZapWorker(m.kvms[3]));
      found += m.kvms[2].counters[MmuCounter.leaves_zapped];
      expect(inUse(m)).toBe(0);
    }
    expect(found).toBeGreaterThan(0);
  });

  it('does not hold up the vCPU that drops the last reference, as kernels before it did', () => {
    const unload = (kernel: KernelName) => {
      const { m, log } = heard({ kernel, zapWorker: true, needResched: () => true });
      m.run(faults(m, 0, [0, 64]));
      log.length = 0;
      m.run(kvmMmuUnload(m.kvms[0], m.vcpus[0]));
      return [log.filter((line) => line.startsWith('zap ')).length, log.filter((line) => line.startsWith('yield')).length];
    };
    // 5.15 zaps it all without a chance to yield, for the root is on no list any more.
    expect(unload('5.15')).toEqual([8, 0]);
    expect(unload('5.18')).toEqual([0, 0]);
    // Since 6.4 the MMU itself keeps the root.
    expect(unload('6.12')).toEqual([0, 0]);
  });
});

describe('the zap of a range', () => {
  it('takes tables inside it until 5.17, and leaves them since', () => {
    const tables = (kernel: KernelName) => {
      const m = new MmuMachine({ ...small, kernel });
      m.run(faults(m, 0, [0, 5, 17]));
      m.run(unmap(m, m.kvms[2], 4, 32));
      expect(m.leaves().map(({ gfn }) => gfn)).toEqual([0]);
      return m
        .dump()
        .filter((row) => row.table)
        .map(({ gfn, level }) => `${gfn}:${level}`);
    };
    expect(tables('5.15')).toEqual(['0:4', '0:3', '0:2']);
    expect(tables('5.18')).toEqual(['0:4', '0:3', '0:2', '4:2', '16:3', '16:2']);
  });

  it('needs mmu_lock held for write', () => {
    const m = new MmuMachine({ ...small });
    m.run(faults(m, 0, [0]));
    const kvm = m.kvms[2];
    function* zap(): Task<void> {
      yield* mmuReadLock(kvm, 0);
      yield* tdpMmuZapLeafs(kvm, m.vcpus[0].root, asGfn(0), asGfn(4), false, false);
    }
    expect(() => m.run(zap())).toThrow('mmu_lock is not held for write');
  });
});

describe('invalid roots that are not zapped yet', () => {
  it('are left alone by splitting, protection and range zaps; notifiers and aging find them', () => {
    const m = new MmuMachine({ ...small, kernel: '5.18', zapWorker: true, hostLevel: 2 });
    m.run(faults(m, 0, [0, 17]));
    const { root } = m.vcpus[0];
    m.run(kvmMmuUnload(m.kvms[0], m.vcpus[0]));
    const kvm = m.kvms[2];
    const before = JSON.stringify(m.dump(root));
    m.run(kvmMmuSlotTrySplitHugePages(kvm, m.slots[0], 1));
    m.run(kvmMmuSlotRemoveWriteAccess(kvm, m.slots[0], 1));
    m.run(kvmMmuSlotLeafClearDirty(kvm, m.slots[0]));
    m.run(kvmZapGfnRange(kvm, asGfn(0), asGfn(4)));
    expect(JSON.stringify(m.dump(root))).toBe(before);
    function* age(): Task<boolean> {
      yield* mmuWriteLock(kvm, 0);
      const young = yield* ageGfnRange(kvm, m.slots[0], asGfn(0), asGfn(4));
      yield* mmuWriteUnlock(kvm);
      return young;
    }
    expect(m.run(age())).toBe(true);
    m.run(unmap(m, kvm, 0, 20));
    expect(m.leaves(root)).toEqual([]);
  });
});
