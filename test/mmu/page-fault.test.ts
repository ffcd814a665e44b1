import { describe, expect, it } from 'vitest';
import { toBigInt } from '../../src/machine/word64.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { PfErr, RetPf } from '../../src/mmu/page-fault-info.ts';
import { VmStat, vmStat } from '../../src/mmu/vm-stat.ts';
import { GUEST_PFN, MmuMachine, slotOf } from './mmu-machine.ts';

const bits = (m: MmuMachine) => m.leaves().map(({ gfn, level, spte }) => `${level}:${gfn}=${toBigInt(spte).toString(16)}`);

describe('page faults', () => {
  it('link the tables and install the leaf', () => {
    const m = new MmuMachine();
    expect(m.run(m.fault(0, 5))).toBe(RetPf.fixed);
    expect(bits(m)).toEqual([`1:5=${((BigInt(GUEST_PFN + 5) << 12n) | 0xe67n).toString(16)}`]);
    expect(
      m
        .dump()
        .filter((row) => row.table)
        .map((row) => row.level),
    ).toEqual([4, 3, 2]);
    expect([VmStat.pages4k, VmStat.tdpMmuPages].map((s) => vmStat(m.kvms[0], s))).toEqual([1, 3]);
  });

  it.each([
    [1, 5],
    [2, 512 + 5],
    [3, 512 * 512 + 5],
  ])("map the host's level %i", (level, gfn) => {
    const m = new MmuMachine({ hostLevel: level });
    expect(m.run(m.fault(0, gfn))).toBe(RetPf.fixed);
    expect(m.leaves().map((row) => [row.level, row.gfn])).toEqual([[level, gfn - 5 + (level === 1 ? 5 : 0)]]);
  });

  it('stay small where the slot is not aligned with the host, or logs', () => {
    for (const over of [{ regionPage: 1 }, { flags: 1 }, { npages: 500 }]) {
      const m = new MmuMachine({ hostLevel: 3, slots: [slotOf(over)] });
      expect(m.run(m.fault(0, 5))).toBe(RetPf.fixed);
      expect(m.leaves().map((row) => row.level)).toEqual([1]);
    }
  });

  it('split the huge page where a small one is needed; older kernels zap it', () => {
    for (const kernel of ['6.12', '6.1'] as const) {
      const m = new MmuMachine({ hostLevel: 2, kernel });
      m.run(m.fault(0, 5));
      m.slots = [slotOf({ flags: 1, dirtyBitmap: m.bitmap })];
      m.run(m.fault(0, 6, PfErr.present));
      expect(m.leaves().length).toBe(kernel === '6.12' ? 512 : 1);
      expect(vmStat(m.kvms[0], VmStat.pages4k)).toBe(kernel === '6.12' ? 512 : 1);
      expect(vmStat(m.kvms[0], VmStat.pages2m)).toBe(0);
    }
  });

  it('replace a table by a huge leaf once nothing forbids it', () => {
    const m = new MmuMachine({ hostLevel: 1 });
    m.run(m.fault(0, 5));
    m.hostLevel = 2;
    m.run(m.fault(0, 6));
    expect(m.leaves().map((row) => [row.level, row.gfn])).toEqual([[2, 0]]);
    expect(m.counter(MmuCounter.tables_removed)).toBe(1);
  });

  it('make an MMIO SPTE where there is no slot, and emulate', () => {
    const m = new MmuMachine({ slots: [slotOf({ npages: 16 })] });
    expect(m.run(m.fault(0, 100))).toBe(RetPf.emulate);
    expect(m.run(m.fault(0, 100, PfErr.reserved))).toBe(RetPf.emulate);
    expect(m.leaves()).toEqual([]);
    expect(m.counter(MmuCounter.pf_mmio_spte_created)).toBe(1);
  });

  it('of two vCPUs on one table: both map, one wins each entry', () => {
    for (let seed = 0; seed < 300; seed++) {
      const m = new MmuMachine({ entries: 4, maxGfn: 256, tablePages: 64 });
      m.together(seed, retrying(m, 0, 5), retrying(m, 1, 6));
      expect(m.leaves().map((row) => row.gfn)).toEqual([5, 6]);
      expect(m.vcpus[0].root).toBe(m.vcpus[1].root);
      expect(vmStat(m.kvms[0], VmStat.tdpMmuPages)).toBe(3);
    }
  });
});

function* retrying(m: MmuMachine, id: number, gfn: number) {
  for (;;) {
    const result = yield* m.fault(id, gfn);
    if (result !== RetPf.retry) return result;
  }
}
