import { describe, expect, it } from 'vitest';
import { asGfn } from '../../src/mmu/level.ts';
import { accessAtRandom, passOver, touchPages } from '../../src/vm/guest-programs.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { Random } from '../../src/vm/random.ts';
import type { GuestObserver } from '../../src/vm/vcpu.ts';
import { FRAMES, VcpuMachine } from './vcpu-machine.ts';

/** A vCPU and the accesses that it made, as 'w' or 'r' and the gfn. */
function observed() {
  const log: [string, number][] = [];
  const note = (kind: string) => {
    return (_vcpu: number, gfn: number, pfn: number): void => {
      expect(pfn).toBe(FRAMES + gfn);
      log.push([kind, gfn]);
    };
  };
  const observer: GuestObserver = { wrote: note('w'), read: note('r') };
  const machine = new VcpuMachine({ vcpu: { observer }, area: { tlbEntries: 4 } });
  return { machine, vcpu: machine.vcpu(), log };
}

describe('guest programs', () => {
  it('touch the pages of a row, ascending', () => {
    const { machine, vcpu, log } = observed();
    machine.run(touchPages(vcpu, { first: asGfn(0x100), count: 3, stride: 5 }, AccessKind.write));
    machine.run(touchPages(vcpu, { first: asGfn(0x100), count: 2, stride: 1 }, AccessKind.read));
    expect(log).toEqual([
      ['w', 0x100],
      ['w', 0x105],
      ['w', 0x10a],
      ['r', 0x100],
      ['r', 0x101],
    ]);
  });

  it('access at random what the seed says, in bounds, writing their share', () => {
    const runs = [1, 1, 2].map((seed) => {
      const { machine, vcpu, log } = observed();
      const options = { first: asGfn(0x100), pages: 40, count: 400, writePercent: 25, random: new Random(seed) };
      machine.run(accessAtRandom(vcpu, options));
      return log;
    });
    expect(runs[0]).toEqual(runs[1]);
    expect(runs[0]).not.toEqual(runs[2]);
    const gfns = new Set(runs[0].map(([, gfn]) => gfn));
    expect([gfns.size, Math.min(...gfns), Math.max(...gfns)]).toEqual([40, 0x100, 0x127]);
    const writes = runs[0].filter(([kind]) => kind === 'w').length;
    expect(writes).toBeGreaterThan(70);
    expect(writes).toBeLessThan(130);
  });

  it.each([
    [100, 50, 50],
    [0, 0, 0],
    [50, 10, 40],
  ])('in a pass with %i %% writes reach each page once', (writePercent, least, most) => {
    const { machine, vcpu, log } = observed();
    machine.run(passOver(vcpu, { row: { first: asGfn(0x100), count: 50, stride: 1 }, writePercent, random: new Random(3) }));
    expect(log.map(([, gfn]) => gfn)).toEqual(Array.from({ length: 50 }, (_, i) => 0x100 + i));
    const writes = log.filter(([kind]) => kind === 'w').length;
    expect(writes >= least && writes <= most).toBe(true);
  });
});

describe('random numbers', () => {
  it('are the same for the same seed on every machine', () => {
    const random = new Random(7);
    expect([random.next(), random.next(), random.next()]).toMatchInlineSnapshot(`
      [
        2304743436,
        832209219,
        1474880218,
      ]
    `);
  });

  it('reach beyond 32 bits where asked to', () => {
    const random = new Random(7);
    const drawn = Array.from({ length: 200 }, () => random.below(2 ** 40));
    expect(Math.max(...drawn)).toBeGreaterThan(2 ** 39);
    expect(Math.min(...drawn)).toBeLessThan(2 ** 37);
    expect(drawn.every((n) => Number.isInteger(n) && n < 2 ** 40)).toBe(true);
  });
});
