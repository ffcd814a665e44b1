import { describe, expect, it } from 'vitest';
import { FIRST_GUEST_PFN, FrameLayout } from '../../src/vm/frames.ts';
import { HostPte, makePte } from '../../src/vm/host-pte.ts';
import { vmConfig } from '../../src/vm/vm-config.ts';
import { VmLayout } from '../../src/vm/vm-layout.ts';

const TIB_PAGES = 2 ** 28;

const memory = [
  { name: 'A', type: '4k', pages: 3 },
  { name: 'B', type: 'thp', pages: 1030 },
  { name: 'C', type: '1g', pages: 2 ** 18 },
  { name: 'D', type: '2m', pages: 512 },
] as const;

describe('the layout of the arena', () => {
  it('gives each structure words of its own', () => {
    const { arena } = new VmLayout(vmConfig({ vcpus: 3, threads: 6, memory, trackContents: true, frameGenerations: 1 }));
    const sorted = [...arena.regions].sort((a, b) => a.base - b.base);
    for (let i = 1; i < sorted.length; i++)
      expect(sorted[i].base).toBeGreaterThanOrEqual(sorted[i - 1].base + sorted[i - 1].words);
    expect(sorted.at(-1)!.base + sorted.at(-1)!.words).toBe(arena.words);
  });

  it('is the same whenever it is computed', () => {
    const config = vmConfig({ memory, vcpus: 2 });
    expect(new VmLayout(config).arena.regions).toEqual(new VmLayout(config).arena.regions);
  });

  it('takes megabytes for terabytes of guest memory in 1G pages', () => {
    const big = vmConfig({ memory: [{ name: 'A', type: '1g', pages: 12 * TIB_PAGES }], heapWords: 0 });
    expect(new VmLayout(big).arenaWords * 4).toBeLessThan(24 * 2 ** 20);
  });

  it('refuses a region that is no whole number of huge pages', () => {
    expect(() => vmConfig({ memory: [{ name: 'A', type: '2m', pages: 513 }] })).toThrow(
      '513 pages are no positive multiple of 512',
    );
    expect(() => vmConfig({ memory: [memory[0], memory[0]] })).toThrow('one name');
  });
});

describe('frames', () => {
  const layout = new FrameLayout(vmConfig({ memory }));
  const pte = (generation: number): number => makePte(HostPte.present, generation);

  it('lie above the page-table pages, and no two pages share one in any generation', () => {
    const seen = new Set<number>([layout.zero]);
    for (let i = 0; i < 512; i++) seen.add(layout.hugeZero + i);
    let pages = seen.size;
    for (const [region, { pages: count }] of memory.entries()) {
      for (let generation = 0; generation < 4; generation++) {
        const step = Math.ceil(count / 600);
        for (let page = 0; page < count; page += step, pages++) seen.add(layout.pfn(region, page, pte(generation), 0));
      }
    }
    expect(seen.size).toBe(pages);
    expect(Math.min(...seen)).toBe(FIRST_GUEST_PFN);
    expect(Math.max(...seen)).toBeLessThan(FIRST_GUEST_PFN + layout.count);
  });

  it('are aligned for the huge page of their region, and come back after the last generation', () => {
    expect(layout.pfn(2, 0, pte(3), 0) % 2 ** 18).toBe(0);
    expect(layout.pfn(1, 512, pte(2), 0) % 512).toBe(0);
    expect(layout.pfn(1, 5, pte(6), 0)).toBe(layout.pfn(1, 5, pte(2), 0));
  });

  it('shrink with the geometry', () => {
    const small = new FrameLayout(vmConfig({ entries: 4, memory: [{ name: 'A', type: '1g', pages: 16 }] }));
    expect(small.pfn(0, 0, pte(1), 0) % 16).toBe(0);
    expect(small.count).toBeLessThan(100);
  });
});
