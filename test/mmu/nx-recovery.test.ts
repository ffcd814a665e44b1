import { describe, expect, it } from 'vitest';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { kvmRecoverNxHugePages } from '../../src/mmu/nx-recovery.ts';
import { PfErr } from '../../src/mmu/page-fault-info.ts';
import { VmStat, vmStat } from '../../src/mmu/vm-stat.ts';
import { MmuMachine, slotOf } from './mmu-machine.ts';

const small = { entries: 4, maxGfn: 256, tablePages: 96, hostLevel: 2 } as const;
const nx = { nxHugePages: 1, nxHugePagesRecoveryRatio: 2 } as const;
const splits = (m: MmuMachine) => vmStat(m.kvms[0], VmStat.nxLpageSplits);
const levels = (m: MmuMachine) => m.leaves().map(({ gfn, level }) => `${gfn}:${level}`);

describe('nx_huge_pages', () => {
  it('maps huge pages without X, and a small page with it where one is executed', () => {
    const m = new MmuMachine({ ...small, params: nx });
    m.run(m.fault(0, 5));
    expect(m.kvms[0].spte.isExecutable(m.leaves()[0].spte)).toBe(false);
    m.run(m.fault(0, 6, PfErr.fetch | PfErr.present));
    expect(levels(m)).toEqual(['4:1', '5:1', '6:1', '7:1']);
    expect(m.kvms[0].spte.isExecutable(m.leaves()[2].spte)).toBe(true);
    expect(splits(m)).toBe(1);
  });

  it('does not let a read bring the huge page back, which the next fetch would split again', () => {
    const m = new MmuMachine({ ...small, params: nx });
    m.run(m.fault(0, 6, PfErr.fetch));
    m.run(m.fault(0, 5, 0));
    expect(levels(m)).toEqual(['5:1', '6:1']);
  });

  it('recovers a share of the tables a period, oldest first; the next fault maps huge again', () => {
    const m = new MmuMachine({ ...small, params: nx });
    for (const gfn of [4, 8, 12]) m.run(m.fault(0, gfn, PfErr.fetch));
    expect(splits(m)).toBe(3);
    expect(m.run(kvmRecoverNxHugePages(m.kvms[2]))).toBe(2);
    expect([splits(m), levels(m)]).toEqual([1, ['12:1']]);
    m.run(m.fault(0, 5));
    expect(levels(m)).toEqual(['4:2', '12:1']);
  });

  it('recovers nothing with a ratio of 0', () => {
    const m = new MmuMachine({ ...small, params: { ...nx, nxHugePagesRecoveryRatio: 0 } });
    m.run(m.fault(0, 4, PfErr.fetch));
    expect(m.run(kvmRecoverNxHugePages(m.kvms[2]))).toBe(0);
    expect(splits(m)).toBe(1);
  });

  it('only forgets the tables of a slot that logs: they would be needed again at once', () => {
    const m = new MmuMachine({ ...small, params: nx });
    m.run(m.fault(0, 4, PfErr.fetch));
    m.slots = [slotOf({ flags: SlotFlag.logDirty })];
    expect(m.run(kvmRecoverNxHugePages(m.kvms[2]))).toBe(1);
    expect([splits(m), levels(m)]).toEqual([0, ['4:1']]);
  });

  it('zaps one table, and where a range is zapped as until 5.17, in all roots', () => {
    const zapped = (kernel: '5.15' | '5.18') => {
      const m = new MmuMachine({ ...small, kernel, params: nx });
      m.vcpus[1].guestMode = true;
      for (const id of [0, 1]) m.run(m.fault(id, 4, PfErr.fetch));
      expect(m.vcpus[0].root).not.toBe(m.vcpus[1].root);
      m.kvms[0].params.set('nxHugePagesRecoveryRatio', 60);
      m.run(kvmRecoverNxHugePages(m.kvms[2]));
      return [m.leaves(m.vcpus[0].root).length, m.leaves(m.vcpus[1].root).length];
    };
    expect(zapped('5.18')).toEqual([0, 1]);
    expect(zapped('5.15')).toEqual([0, 0]);
  });

  it('races with the faults that make such tables, and keeps its list straight', () => {
    for (let seed = 0; seed < 300; seed++) {
      const m = new MmuMachine({ ...small, params: nx, needResched: () => seed % 2 === 0 });
      m.run(m.fault(0, 4, PfErr.fetch));
      m.together(
        seed,
        m.fault(0, 5, PfErr.fetch),
        m.fault(1, 8, PfErr.fetch),
        kvmRecoverNxHugePages(m.kvms[2]),
        kvmRecoverNxHugePages(m.kvms[3]),
      );
      m.kvms[0].params.set('nxHugePagesRecoveryRatio', 1);
      m.run(kvmRecoverNxHugePages(m.kvms[2]));
      expect(splits(m)).toBe(0);
      expect(m.counter(MmuCounter.nx_recovered)).toBeGreaterThan(0);
    }
  });
});
