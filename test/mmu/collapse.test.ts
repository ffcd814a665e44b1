import { describe, expect, it } from 'vitest';
import { rcuBarrier } from '../../src/machine/rcu.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { kvmFlushRemoteTlbs } from '../../src/mmu/flush.ts';
import type { KernelName } from '../../src/mmu/generation.ts';
import { unmapGfnRange } from '../../src/mmu/gfn-range.ts';
import type { Kvm } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { mmuWriteLock, mmuWriteUnlock } from '../../src/mmu/mmu-lock.ts';
import { kvmMmuSlotTrySplitHugePages, kvmMmuZapCollapsibleSptes } from '../../src/mmu/slot-ops.ts';
import { isLargeSpte, isShadowPresent, sptePfn } from '../../src/mmu/spte.ts';
import type { MmuTrace, TracedOperation } from '../../src/mmu/trace.ts';
import { VmStat, vmStat } from '../../src/mmu/vm-stat.ts';
import { GUEST_PFN, type MachineOptions, MmuMachine, slotOf } from './mmu-machine.ts';

const small = { entries: 4, maxGfn: 256, tablePages: 96 } as const;

/** A slot whose pages were faulted in while it logged, or all of whose huge pages were split; then logging ended. */
function afterLogging(kernel: KernelName, hostLevel: number, gfns: readonly number[], options: MachineOptions = {}) {
  const log: string[] = [];
  const heard: Partial<MmuTrace> = {
    operation: (name: TracedOperation) => void log.push(name),
    yielded: (mode) => void log.push(`yield ${mode}`),
    spteChanged: (_asId, gfn, level, _old, next) =>
      void log.push(`${gfn}:${level} ${isShadowPresent(next) && isLargeSpte(next) ? 'huge' : 'other'}`),
  };
  const trace = new Proxy(heard as MmuTrace, { get: (target, name) => target[name as keyof MmuTrace] ?? (() => {}) });
  const m = new MmuMachine({ ...small, kernel, trace, slots: [slotOf({ npages: 256, flags: SlotFlag.logDirty })], ...options });
  for (const gfn of gfns) m.run(m.fault(0, gfn));
  m.slots = [slotOf({ npages: 256 })];
  m.hostLevel = hostLevel;
  log.length = 0;
  return { m, log, collapse: () => kvmMmuZapCollapsibleSptes(m.kvms[2], m.slots[0]) };
}

const leaves = (m: MmuMachine) => m.leaves().map(({ gfn, level }) => `${gfn}:${level}`);

describe('huge pages after logging', () => {
  it('come back by zapping the table, and then by the next fault, until 6.12', () => {
    const { m, log, collapse } = afterLogging('6.12', 2, [4, 6]);
    m.run(collapse());
    expect(leaves(m)).toEqual([]);
    // Frozen, flushed, empty: and only then is the table taken apart.
    expect(log.slice(0, 3)).toEqual(['zap_collapsible', 'flush_all', '4:2 other']);
    m.run(m.fault(0, 5));
    expect(leaves(m)).toEqual(['4:2']);
  });

  it('come back in place in 6.13, at once, with one flush for all at the end', () => {
    const { m, log, collapse } = afterLogging('6.13', 2, [4, 6, 9]);
    m.run(collapse());
    expect(leaves(m)).toEqual(['4:2', '8:2']);
    expect(log.filter((line) => line === 'flush_all' || line.endsWith('huge'))).toEqual(['4:2 huge', '8:2 huge', 'flush_all']);
    expect(log.at(-1)).toBe('flush_all');
    expect(m.leaves().map(({ spte }) => sptePfn(spte))).toEqual([GUEST_PFN + 4, GUEST_PFN + 8]);
    expect([VmStat.pages4k, VmStat.pages2m].map((stat) => vmStat(m.kvms[0], stat))).toEqual([0, 2]);
    expect(m.counter(MmuCounter.collapses)).toBe(2);
  });

  it.each([2, 3])('come in whatever size the host maps them: level %i', (level) => {
    // Hugetlbfs and THP look the same from here: what counts is the level of the host's mapping.
    const { m, collapse } = afterLogging('6.13', level, [21, 27]);
    m.run(collapse());
    expect(leaves(m)).toEqual(level === 2 ? ['20:2', '24:2'] : ['16:3']);
    expect(m.leaves().map(({ spte, gfn }) => sptePfn(spte) - gfn)).toEqual(level === 2 ? [GUEST_PFN, GUEST_PFN] : [GUEST_PFN]);
  });

  it('find the first leaf wherever it is below: not only in the first table', () => {
    const { m, collapse } = afterLogging('6.13', 3, [16, 27]);
    m.run(unmap(m, m.kvms[3], 16, 17));
    m.run(collapse());
    expect(leaves(m)).toEqual(['16:3']);
    expect(sptePfn(m.leaves()[0].spte)).toBe(GUEST_PFN + 16);
  });

  it('do not come where nothing was mapped, nor where the host has small pages, nor beyond the slot', () => {
    const none = afterLogging('6.13', 1, [4]);
    none.m.run(none.collapse());
    expect(leaves(none.m)).toEqual(['4:1']);
    const empty = afterLogging('6.13', 2, [4]);
    empty.m.run(unmap(empty.m, empty.m.kvms[3], 4, 5));
    empty.log.length = 0;
    empty.m.run(empty.collapse());
    expect([leaves(empty.m), empty.log]).toEqual([[], ['recover_huge_pages']]);
    const edge = afterLogging('6.13', 2, [4, 6]);
    edge.m.slots = [slotOf({ npages: 7 })];
    edge.m.run(edge.collapse());
    expect(leaves(edge.m)).toEqual(['4:1', '6:1']);
  });

  it('lose X with nx_huge_pages', () => {
    const { m, collapse } = afterLogging('6.13', 2, [4], { params: { nxHugePages: 1 } });
    m.run(collapse());
    expect(m.kvms[0].spte.isExecutable(m.leaves()[0].spte)).toBe(false);
  });

  it('are made gfn by gfn: what was done before a yield is flushed before it, and the walk goes on behind it', () => {
    let asked = 0;
    const { m, log, collapse } = afterLogging('6.13', 2, [4, 8, 12, 20], { needResched: (id) => id === 2 && ++asked % 7 === 0 });
    m.run(collapse());
    expect(leaves(m)).toEqual(['4:2', '8:2', '12:2', '20:2']);
    const made = log.filter((line) => line.endsWith('huge'));
    expect(made).toEqual(['4:2 huge', '8:2 huge', '12:2 huge', '20:2 huge']);
    const yields = log.flatMap((line, i) => (line === 'yield read' ? [i] : []));
    expect(yields.length).toBeGreaterThan(0);
    let owed = false;
    for (const line of log) {
      if (line.endsWith('huge')) owed = true;
      if (line === 'flush_all') owed = false;
      if (line === 'yield read') expect(owed).toBe(false);
    }
    expect(owed).toBe(false);
  });

  it.each(['6.12', '6.13'] as KernelName[])('bring back no page that the host took while mmu_lock was dropped (%s)', (kernel) => {
    let yields = 0;
    for (let seed = 0; seed < 250; seed++) {
      const { m, log, collapse } = afterLogging(kernel, 2, [4, 6, 9, 12], { needResched: (id) => id === 2 && seed % 2 === 0 });
      const dropped = m.kvms[3];
      m.together(seed, collapse(), unmap(m, dropped, 4, 13));
      expect(leaves(m), `seed ${seed}`).toEqual([]);
      m.run(rcuBarrier(dropped.rcu, dropped.allocator, dropped.thread));
      yields += log.filter((line) => line.startsWith('yield')).length;
    }
    expect(yields).toBeGreaterThan(0);
  });

  it.each(['6.12', '6.13'] as KernelName[])('race with faults and with a split of the same page (%s)', (kernel) => {
    for (let seed = 0; seed < 200; seed++) {
      const { m, collapse } = afterLogging(kernel, 2, [4, 6]);
      m.together(seed, collapse(), m.fault(1, 5) as never, kvmMmuSlotTrySplitHugePages(m.kvms[3], m.slots[0], 1));
      for (const { gfn, spte } of m.leaves()) expect(sptePfn(spte)).toBe(GUEST_PFN + gfn);
      const pages = m.leaves().reduce((sum, { level }) => sum + 4 ** (level - 1), 0);
      expect(pages).toBeLessThanOrEqual(4);
    }
  });
});

function* unmap(m: MmuMachine, kvm: Kvm, start: number, end: number) {
  yield* mmuWriteLock(kvm, 0);
  if (yield* unmapGfnRange(kvm, m.slots[0], asGfn(start), asGfn(end), false, true)) yield* kvmFlushRemoteTlbs(kvm);
  yield* mmuWriteUnlock(kvm);
}
