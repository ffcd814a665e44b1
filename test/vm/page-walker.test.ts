import { describe, expect, it } from 'vitest';
import { freePage, PageState } from '../../src/machine/page-allocator.ts';
import { type Address, own, StepKind } from '../../src/machine/point.ts';
import { runTogether } from '../../src/machine/run.ts';
import { andNot64, or64, Word64 } from '../../src/machine/word64.ts';
import { asGfn, asPfn, type Gfn } from '../../src/mmu/level.ts';
import { PfErr } from '../../src/mmu/page-fault-info.ts';
import { AdType } from '../../src/mmu/spte.ts';
import type { CpuName } from '../../src/mmu/spte-format.ts';
import { AccessKind, PML_FULL, WALKED, walkPageTables } from '../../src/vm/page-walker.ts';
import { pmlGfns } from '../../src/vm/pml.ts';
import { tlbEntries } from '../../src/vm/tlb.ts';
import type { Vcpu } from '../../src/vm/vcpu.ts';
import { VcpuCounter } from '../../src/vm/vcpu-counters.ts';
import { FRAMES, VcpuMachine, type VcpuMachineOptions } from './vcpu-machine.ts';

const { present, write, user, reserved, fetch } = PfErr;
const GFN = 0x10203;

interface LeafOptions {
  writable?: boolean;
  accessed?: boolean;
  dirty?: boolean;
  exec?: boolean;
  level?: number;
  adType?: AdType;
  pfn?: number;
}

/** A table of four levels below root page 1, made by hand: pages 2, 3 and 4 lead to GFN. */
class HandMade {
  readonly machine: VcpuMachine;
  readonly vcpu: Vcpu;

  constructor(cpu: CpuName, options: VcpuMachineOptions = {}) {
    this.machine = new VcpuMachine({ ...options, config: { cpu, ...options.config } });
    this.vcpu = this.machine.vcpu();
    const { memory, kvms } = this.machine;
    const { allocator, spte } = kvms[0];
    for (const page of [1, 2, 3, 4, 5]) {
      memory.fill64(own(allocator.tableOf(page)), spte.nonpresent, 512);
      memory.store32(own(allocator.word(page, 0)), PageState.live);
    }
    for (const level of [4, 3, 2]) this.machine.store(1, GFN, level, spte.makeNonleaf(6 - level, false));
    this.vcpu.mmu.onLoadRoot(1);
  }

  leaf(options: LeafOptions = {}): Word64 {
    const { writable, accessed, dirty, exec, level, adType, pfn } = {
      writable: true,
      accessed: false,
      dirty: false,
      exec: true,
      level: 1,
      adType: AdType.enabled,
      pfn: FRAMES + 3,
      ...options,
    };
    const { spte } = this.machine.kvms[0];
    let leaf = spte.makeLeaf({
      level,
      pfn: asPfn(pfn),
      access: exec ? 7 : 6,
      hostWritable: writable,
      writeTracked: false,
      prefetch: false,
      old: spte.nonpresent,
      adType,
    });
    if (!accessed) leaf = andNot64(leaf, spte.accessed);
    return dirty ? or64(leaf, spte.dirty) : andNot64(leaf, spte.dirty);
  }

  put(value: Word64, level = 1): void {
    this.machine.store(1, GFN, level, value);
  }

  walk(kind: AccessKind, gfn = GFN): number {
    return this.machine.run(walkPageTables(this.vcpu.walker, asGfn(gfn), kind));
  }

  /** What a walk changed in the leaf: which of A and D are set now. */
  bits(level = 1): string {
    const { spte } = this.machine.kvms[0];
    const now = this.machine.memory.load64(own(this.machine.sptep(1, GFN, level)));
    return (spte.isAccessed(now) ? 'A' : '-') + ((now.lo & spte.dirty.lo) !== 0 ? 'D' : '-');
  }

  cached(): ReturnType<typeof tlbEntries> {
    return tlbEntries(this.machine.memory, this.machine.kvms[0].geometry, this.vcpu.area);
  }
}

describe.each<CpuName>(['npt', 'ept'])('a walk of %s tables', (cpu) => {
  it.each([
    ['read', AccessKind.read, 'A-', { writable: true, executable: true, dirty: false }],
    ['write', AccessKind.write, 'AD', { writable: true, executable: true, dirty: true }],
    ['exec', AccessKind.exec, 'A-', { writable: true, executable: true, dirty: false }],
  ])('for a %s sets what it must, and caches what it may', (_name, kind, bits, rights) => {
    const tables = new HandMade(cpu);
    tables.put(tables.leaf());
    expect(tables.walk(kind)).toBe(WALKED);
    expect(tables.bits()).toBe(bits);
    expect(tables.cached()).toEqual([{ root: 1, level: 1, gfn: GFN, pfn: FRAMES + 3, ...rights }]);
    expect(tables.vcpu.tlb.frame(tables.vcpu.walker.entry, asGfn(GFN))).toBe(FRAMES + 3);
  });

  it('changes nothing in a leaf that has A and D, and caches that D is set', () => {
    const tables = new HandMade(cpu);
    tables.put(tables.leaf({ accessed: true, dirty: true }));
    expect(tables.walk(AccessKind.read)).toBe(WALKED);
    expect(tables.cached()[0].dirty).toBe(true);
    expect(tables.vcpu.counters[VcpuCounter.ad_updates]).toBe(0);
  });

  it('leaves A and D alone where the entry does not use them, and has no D to set for a write', () => {
    const tables = new HandMade(cpu);
    const leaf = tables.leaf({ adType: AdType.disabled, accessed: false });
    tables.put(leaf);
    expect(tables.walk(AccessKind.read)).toBe(WALKED);
    expect(tables.machine.memory.load64(own(tables.machine.sptep(1, GFN, 1)))).toEqual(leaf);
    expect(tables.cached()[0]).toMatchObject({ writable: true, dirty: true });
  });

  it.each([2, 3])('finds a huge leaf at level %i', (level) => {
    const tables = new HandMade(cpu);
    const span = 512 ** (level - 1);
    tables.put(tables.leaf({ level, pfn: 2 ** 30 }), level);
    expect(tables.walk(AccessKind.write)).toBe(WALKED);
    expect(tables.bits(level)).toBe('AD');
    expect(tables.cached()).toMatchObject([{ level, gfn: GFN - (GFN % span), pfn: 2 ** 30 }]);
    expect(tables.vcpu.tlb.frame(tables.vcpu.walker.entry, asGfn(GFN))).toBe(2 ** 30 + (GFN % span));
  });

  it('faults where a right is missing, and sets nothing', () => {
    const tables = new HandMade(cpu);
    tables.put(tables.leaf({ writable: false, exec: false }));
    const npt = cpu === 'npt' ? user : 0;
    expect(tables.walk(AccessKind.write)).toBe(present | write | npt);
    expect(tables.walk(AccessKind.exec)).toBe(present | fetch | npt);
    expect(tables.bits()).toBe('--');
    expect(tables.cached()).toEqual([]);
  });

  it('faults where nothing is present, at whatever level, frozen entries included', () => {
    const tables = new HandMade(cpu);
    const { spte } = tables.machine.kvms[0];
    const npt = cpu === 'npt' ? user : 0;
    expect(tables.walk(AccessKind.read)).toBe(user);
    tables.put(spte.frozen);
    expect(tables.walk(AccessKind.write)).toBe(write | npt);
    for (const level of [2, 3, 4]) {
      tables.put(spte.frozen, level);
      expect(tables.walk(AccessKind.exec)).toBe(fetch | npt);
    }
  });

  it('reports an MMIO entry as a reserved bit', () => {
    const tables = new HandMade(cpu);
    tables.put(tables.machine.kvms[0].spte.makeMmio(asGfn(GFN), 7, 4));
    expect(tables.walk(AccessKind.read)).toBe(cpu === 'npt' ? reserved | user : reserved);
    expect(tables.walk(AccessKind.write)).toBe(cpu === 'npt' ? reserved | user | write : reserved);
  });

  it('skips the upper levels by the cached table, which may be one that is no longer linked', () => {
    const tables = new HandMade(cpu);
    tables.put(tables.leaf());
    tables.walk(AccessKind.read);
    const table = tables.machine.sptep(1, GFN, 1);
    tables.put(tables.machine.kvms[0].spte.nonpresent, 3);
    tables.vcpu.tlb.flush();
    const steps: Address[] = [];
    const results = runTogether(
      tables.machine.memory,
      [walkPageTables(tables.vcpu.walker, asGfn(GFN), AccessKind.read)],
      undefined,
      {
        onStep: (_task, kind, a) => kind === StepKind.Read && steps.push(a),
      },
    );
    expect([results, steps]).toEqual([[WALKED], [table]]);
    tables.vcpu.flushTlb();
    expect(tables.walk(AccessKind.read)).toBe(user);
  });

  it('forgets what it cached for a gfn that faults', () => {
    const tables = new HandMade(cpu);
    tables.put(tables.leaf({ writable: false }));
    tables.walk(AccessKind.read);
    expect(tables.cached()).toHaveLength(1);
    tables.walk(AccessKind.write);
    expect(tables.cached()).toEqual([]);
    expect(tables.vcpu.pwc.find(asGfn(GFN))).toBe(0);
  });
});

describe('a walk that races', () => {
  /** Runs a write and a change of the leaf right before step number `at` of the walk. */
  function race(tables: HandMade, at: number, change: () => void): number {
    const walk = walkPageTables(tables.vcpu.walker, asGfn(GFN), AccessKind.write);
    let step = 0;
    const onStep = (_task: number, kind: StepKind): void => {
      if (kind !== StepKind.Spend && step++ === at) change();
    };
    return runTogether(tables.machine.memory, [walk], undefined, { onStep })[0];
  }

  it('with a change of the leaf between look and exchange begins again, and sets bits in what it then finds', () => {
    const tables = new HandMade('ept');
    tables.put(tables.leaf({ pfn: FRAMES + 3 }));
    expect(race(tables, 4, () => tables.put(tables.leaf({ pfn: FRAMES + 9 })))).toBe(WALKED);
    expect(tables.vcpu.counters[VcpuCounter.walk_restarts]).toBe(1);
    expect(tables.bits()).toBe('AD');
    expect(tables.cached()).toMatchObject([{ pfn: FRAMES + 9, dirty: true }]);
  });

  it('with a zap faults, and leaves no bits in the empty entry', () => {
    const tables = new HandMade('ept');
    const { nonpresent } = tables.machine.kvms[0].spte;
    tables.put(tables.leaf());
    expect(race(tables, 4, () => tables.put(nonpresent))).toBe(write);
    expect(tables.machine.memory.load64(own(tables.machine.sptep(1, GFN, 1)))).toEqual(nonpresent);
    expect(tables.cached()).toEqual([]);
  });

  it('with the split of a huge page follows the new table', () => {
    const tables = new HandMade('npt');
    const { spte } = tables.machine.kvms[0];
    tables.put(tables.leaf({ level: 1, pfn: FRAMES + 3 }));
    tables.put(tables.leaf({ level: 2, pfn: FRAMES }), 2);
    expect(race(tables, 3, () => tables.put(spte.makeNonleaf(4, false), 2))).toBe(WALKED);
    expect(tables.cached()).toMatchObject([{ level: 1, pfn: FRAMES + 3 }]);
  });
});

describe('a table that was freed', () => {
  it('is noticed by its poison and by its state', () => {
    const tables = new HandMade('ept');
    const { allocator, thread } = tables.machine.kvms[0];
    tables.put(tables.leaf());
    tables.walk(AccessKind.read);
    tables.machine.run(freePage(allocator, thread, 4, PageState.live));
    expect(() => tables.walk(AccessKind.read)).toThrow('reads page 4, a freed table');
    tables.machine.memory.fill64(own(allocator.tableOf(4)), new Word64(0, 0), 512);
    expect(() => tables.walk(AccessKind.read)).toThrow('reads page 4, a freed table');
  });
});

describe('the page-modification log', () => {
  function logging(): HandMade {
    const tables = new HandMade('ept', { area: { pmlEntries: 2 } });
    tables.vcpu.walker.pmlEnabled = true;
    return tables;
  }
  const logged = (tables: HandMade): Gfn[] => pmlGfns(tables.machine.memory, tables.vcpu.area);

  it('holds the gfns whose D bit the processor set, in order, and no others', () => {
    const tables = logging();
    const { machine } = tables;
    for (const gfn of [GFN, GFN + 1]) machine.store(1, gfn, 1, tables.leaf());
    machine.store(1, GFN + 2, 1, tables.leaf({ accessed: true, dirty: true }));
    expect(tables.walk(AccessKind.read)).toBe(WALKED);
    expect(tables.walk(AccessKind.write, GFN + 2)).toBe(WALKED);
    expect(logged(tables)).toEqual([]);
    expect(tables.walk(AccessKind.write, GFN + 1)).toBe(WALKED);
    expect(tables.walk(AccessKind.write)).toBe(WALKED);
    expect(logged(tables)).toEqual([GFN + 1, GFN]);
  });

  it('when it is full stops the walk before the bit is set', () => {
    const tables = logging();
    for (const gfn of [GFN + 1, GFN + 2, GFN]) tables.machine.store(1, gfn, 1, tables.leaf());
    tables.walk(AccessKind.write, GFN + 1);
    tables.walk(AccessKind.write, GFN + 2);
    expect(tables.walk(AccessKind.write)).toBe(PML_FULL);
    expect([tables.bits(), logged(tables)]).toEqual(['--', [GFN + 1, GFN + 2]]);
    expect(tables.walk(AccessKind.read)).toBe(WALKED);
    expect(tables.bits()).toBe('A-');
  });
});
