import { describe, expect, it } from 'vitest';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import type { Address } from '../../src/machine/point.ts';
import { asGfn, asPfn, Geometry } from '../../src/mmu/level.ts';
import { PagingStructureCache, pwcEntries } from '../../src/vm/paging-structure-cache.ts';
import { Tlb, TlbRight, tlbEntries } from '../../src/vm/tlb.ts';
import { VcpuArea, vcpuAreaWords } from '../../src/vm/vcpu-layout.ts';

const { read, write, exec, dirty } = TlbRight;
const CONFIG = { tlbEntries: 8, pwcEntries: 4, pmlEntries: 4 };

function setUp() {
  const geometry = new Geometry({ entries: 512, rootLevel: 4, maxGfn: 2 ** 36 });
  const memory = new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * (16 + vcpuAreaWords(CONFIG)))));
  const area = new VcpuArea(16 as Address, CONFIG);
  const tlb = new Tlb(memory, geometry, area);
  const pwc = new PagingStructureCache(memory, geometry, area);
  tlb.setRoot(7);
  pwc.setRoot(7);
  const lookUp = (gfn: number, rights: number): number | null => {
    const entry = tlb.find(asGfn(gfn), rights);
    return entry === 0 ? null : tlb.frame(entry, asGfn(gfn));
  };
  return { geometry, memory, area, tlb, pwc, lookUp };
}

describe('the TLB', () => {
  it.each([
    ['a small gfn', 0x123],
    ['gfn 0', 0],
    ['a gfn beyond 31 bits', 0x9000_0001],
    ['a gfn beyond 32 bits', 0xab_1234_5678],
  ])('translates %s and no other', (_name, gfn) => {
    const { tlb, lookUp } = setUp();
    tlb.insert(asGfn(gfn), 1, asPfn(0xff_8000_0003), read);
    expect(lookUp(gfn, read)).toBe(0xff_8000_0003);
    expect([gfn + 1, gfn + 8, gfn + 2 ** 32].map((other) => lookUp(other, read))).toEqual([null, null, null]);
  });

  it('gives each page of a huge translation its frame', () => {
    const { tlb, lookUp } = setUp();
    tlb.insert(asGfn(0x10203), 2, asPfn(0x400000), read | write);
    tlb.insert(asGfn(0x80005), 3, asPfn(0x1_0000_0000), read);
    expect([0x10200, 0x103ff, 0x10400].map((gfn) => lookUp(gfn, read))).toEqual([0x400000, 0x4001ff, null]);
    expect([0x80000, 0xbffff, 0xc0000].map((gfn) => lookUp(gfn, read))).toEqual([0x1_0000_0000, 0x1_0003_ffff, null]);
  });

  it('does not take a huge page for the small one of the same number', () => {
    const { tlb, lookUp } = setUp();
    tlb.insert(asGfn(2), 1, asPfn(0x500000), read);
    tlb.insert(asGfn(0x200), 2, asPfn(0x400000), read);
    expect([1, 2, 0x200].map((gfn) => lookUp(gfn, read))).toEqual([null, 0x500000, 0x400000]);
  });

  it('finds only what allows the access', () => {
    const { tlb, lookUp } = setUp();
    tlb.insert(asGfn(5), 1, asPfn(9), read | write);
    expect([read, write, exec, write | dirty].map((rights) => lookUp(5, rights))).toEqual([9, 9, null, null]);
    tlb.insert(asGfn(5), 1, asPfn(9), read | write | exec | dirty);
    expect([exec, write | dirty].map((rights) => lookUp(5, rights))).toEqual([9, 9]);
  });

  it('knows a translation under its root only, and again when that comes back', () => {
    const { tlb, lookUp } = setUp();
    tlb.insert(asGfn(5), 1, asPfn(9), read);
    tlb.setRoot(8);
    expect(lookUp(5, read)).toBeNull();
    tlb.setRoot(7);
    expect(lookUp(5, read)).toBe(9);
  });

  it('keeps what is neither replaced, nor invalidated, nor flushed', () => {
    const { tlb, lookUp } = setUp();
    for (const gfn of [1, 2, 3]) tlb.insert(asGfn(gfn), 1, asPfn(gfn + 100), read);
    tlb.insert(asGfn(9), 1, asPfn(109), read);
    tlb.invalidate(asGfn(2));
    expect([1, 2, 3, 9].map((gfn) => lookUp(gfn, read))).toEqual([null, null, 103, 109]);
    tlb.flush();
    expect([3, 9].map((gfn) => lookUp(gfn, read))).toEqual([null, null]);
  });

  it('invalidates the huge page around a gfn', () => {
    const { tlb, lookUp } = setUp();
    tlb.insert(asGfn(0x10200), 2, asPfn(0x400000), read);
    tlb.invalidate(asGfn(0x10333));
    expect(lookUp(0x10200, read)).toBeNull();
  });

  it('shows oracles what it holds, whatever the root', () => {
    const { tlb, memory, geometry, area } = setUp();
    tlb.insert(asGfn(0xab_1234_5678), 1, asPfn(0xff_8000_0003), read | write | dirty);
    tlb.setRoot(0xfffff);
    tlb.insert(asGfn(0x10203), 2, asPfn(0x400000), read | exec);
    const entries = tlbEntries(memory, geometry, area).sort((a, b) => a.level - b.level);
    expect(entries).toEqual([
      { root: 7, level: 1, gfn: 0xab_1234_5678, pfn: 0xff_8000_0003, writable: true, executable: false, dirty: true },
      { root: 0xfffff, level: 2, gfn: 0x10200, pfn: 0x400000, writable: false, executable: true, dirty: false },
    ]);
    tlb.flush();
    expect(tlbEntries(memory, geometry, area)).toEqual([]);
  });
});

describe('the paging-structure cache', () => {
  it('knows the table of a region until it is flushed, under its root', () => {
    const { pwc, memory, geometry, area } = setUp();
    pwc.insert(asGfn(0x10234), 33);
    expect([0x10200, 0x103ff, 0x10400, 0x101ff].map((gfn) => pwc.find(asGfn(gfn)))).toEqual([33, 33, 0, 0]);
    pwc.setRoot(8);
    expect(pwc.find(asGfn(0x10200))).toBe(0);
    expect(pwcEntries(memory, geometry, area)).toEqual([{ root: 7, gfn: 0x10200, table: 33 }]);
    pwc.setRoot(7);
    pwc.invalidate(asGfn(0x10300));
    expect(pwc.find(asGfn(0x10200))).toBe(0);
    pwc.insert(asGfn(0x10234), 34);
    pwc.flush();
    expect(pwc.find(asGfn(0x10200))).toBe(0);
  });
});

describe('a vCPU area', () => {
  it('refuses sizes that no mask can index', () => {
    expect(() => new VcpuArea(16 as Address, { ...CONFIG, tlbEntries: 48 })).toThrow('tlbEntries: 48');
    expect(() => new VcpuArea(16 as Address, { ...CONFIG, pwcEntries: 0 })).toThrow('pwcEntries: 0');
  });
});
