import { describe, expect, it } from 'vitest';
import { PageState } from '../../src/machine/page-allocator.ts';
import type { Task } from '../../src/machine/point.ts';
import { own } from '../../src/machine/point.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { ENOMEM, kvmTdpMmuTrySplitHugePages } from '../../src/mmu/eager-split.ts';
import type { KernelName } from '../../src/mmu/generation.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { mmuReadLock, mmuReadUnlock, mmuWriteLock, mmuWriteUnlock } from '../../src/mmu/mmu-lock.ts';
import { PageHeader } from '../../src/mmu/mmu-page.ts';
import type { MmuTrace } from '../../src/mmu/trace.ts';
import { VmStat, vmStat } from '../../src/mmu/vm-stat.ts';
import { MmuMachine, slotOf } from './mmu-machine.ts';

const small = { entries: 4, maxGfn: 256, tablePages: 128 } as const;

/** What the tracepoint of splits said. */
function withTrace(log: string[]): { trace: MmuTrace } {
  const heard: Partial<MmuTrace> = {
    splitHugePage: (gfn, _spte, level, errno) => void log.push(`${gfn} ${level} ${errno}`),
    yielded: (mode) => void log.push(`yield ${mode}`),
  };
  return { trace: new Proxy(heard as MmuTrace, { get: (target, name) => target[name as keyof MmuTrace] ?? (() => {}) }) };
}

function* split(m: MmuMachine, shared: boolean, target = 1, thread = 2): Task<number> {
  const kvm = m.kvms[thread];
  yield* shared ? mmuReadLock(kvm, 0) : mmuWriteLock(kvm, 0);
  const result = yield* kvmTdpMmuTrySplitHugePages(kvm, m.slots[0], asGfn(0), asGfn(256), target, shared);
  yield* shared ? mmuReadUnlock(kvm) : mmuWriteUnlock(kvm);
  return result;
}

const stats = (m: MmuMachine) => [VmStat.pages4k, VmStat.pages2m, VmStat.pages1g].map((stat) => vmStat(m.kvms[0], stat));

describe('eager splitting', () => {
  it.each([true, false])('takes a 1G page down to 4K in one walk, and counts pages by level (shared: %s)', (shared) => {
    const log: string[] = [];
    const m = new MmuMachine({ ...small, hostLevel: 3, ...withTrace(log) });
    m.run(m.fault(0, 5));
    expect(stats(m)).toEqual([0, 0, 1]);
    expect(m.run(split(m, shared))).toBe(0);
    expect(stats(m)).toEqual([16, 0, 0]);
    expect(log).toEqual(['0 3 0', '0 2 0', '4 2 0', '8 2 0', '12 2 0']);
    expect(m.leaves().map(({ gfn, level }) => [gfn, level])).toEqual(Array.from({ length: 16 }, (_, i) => [i, 1]));
    expect(m.counter(MmuCounter.splits_eager)).toBe(5);
  });

  it('stops at the level that is asked for', () => {
    const m = new MmuMachine({ ...small, hostLevel: 3 });
    m.run(m.fault(0, 5));
    m.run(split(m, true, 2));
    expect(stats(m)).toEqual([0, 4, 0]);
  });

  it('keeps W, D and the rest of the leaf, and the translation of every page', () => {
    const m = new MmuMachine({ ...small, hostLevel: 2 });
    m.run(m.fault(0, 5));
    const [huge] = m.leaves();
    m.run(split(m, true));
    const bits = 0xfff & ~(1 << 7);
    for (const { gfn, spte } of m.leaves()) {
      expect([spte.lo & 0xfff, spte.lo >>> 12]).toEqual([huge.spte.lo & bits, (huge.spte.lo >>> 12) + gfn - huge.gfn]);
    }
  });

  it('drops mmu_lock to allocate since 6.11; before, only when there is no page to be had under it', () => {
    const attempts = (kernel: KernelName, fail: boolean) => {
      let calls = 0;
      const failAllocation = () => ++calls > 0 && fail;
      const m = new MmuMachine({ ...small, kernel, hostLevel: 2, failAllocation });
      m.run(m.fault(0, 5));
      expect(m.run(split(m, true))).toBe(0);
      expect(stats(m)).toEqual([4, 0, 0]);
      return [calls, m.counter(MmuCounter.iter_restarts)];
    };
    expect(attempts('6.12', false)).toEqual([0, 1]);
    expect(attempts('6.1', false)).toEqual([1, 0]);
    expect(attempts('6.1', true)).toEqual([1, 1]);
  });

  it('ends with -ENOMEM where memory has run out, says so in its trace, and leaves no reference to the root', () => {
    const log: string[] = [];
    const m = new MmuMachine({ ...small, tablePages: 8, pageCache: 5, hostLevel: 3, ...withTrace(log) });
    m.run(m.fault(0, 5));
    const count = () => m.memory.load32(own(m.kvms[0].pages.word(m.vcpus[0].root, PageHeader.rootCount)));
    const before = count();
    expect(m.run(split(m, true))).toBe(-ENOMEM);
    expect(log.at(-1)).toMatch(/ -12$/);
    expect(count()).toBe(before);
    // What was split is split; what was not still maps its pages.
    const leaves = m.leaves();
    expect(leaves.reduce((pages, { level }) => pages + 4 ** (level - 1), 0)).toBe(16);
  });

  it('by two threads: one wins the exchange, the other gets -EBUSY, goes by what it found, and no page is lost', () => {
    let lost = 0;
    for (let seed = 0; seed < 300; seed++) {
      const log: string[] = [];
      const m = new MmuMachine({ ...small, hostLevel: 2, slots: [slotOf({ npages: 256 })], ...withTrace(log) });
      m.run(m.fault(0, 5));
      m.run(m.fault(1, 6));
      m.slots = [slotOf({ npages: 256, flags: SlotFlag.logDirty })];
      const [, , kvm] = m.kvms;
      m.together(seed, split(m, true), split(m, true, 1, 3));
      m.run(m.fault(1, 6, 0));
      expect(m.leaves().map(({ level }) => level)).toEqual([1, 1, 1, 1]);
      const live = Array.from({ length: small.tablePages - 1 }, (_, i) => kvm.allocator.stateOf(m.memory, i + 1));
      expect(live.filter((state) => state === PageState.live).length).toBe(4);
      if (log.some((line) => line.endsWith('-16'))) lost++;
    }
    expect(lost).toBeGreaterThan(0);
  });
});
