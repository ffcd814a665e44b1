import { describe, expect, it } from 'vitest';
import { fastForward } from '../../src/paper/fast-forward.ts';
import { deviationOf, type Figure } from '../../src/paper/figure.ts';
import { PAPERS } from '../../src/paper/index.ts';
import { figureLines, misses, summaryLine } from '../../src/paper/paper-report.ts';

const figure = (over: Partial<Figure>): Figure => ({
  name: 'f',
  unit: 's',
  published: 2,
  simulated: 2.1,
  kind: 'predicted',
  ...over,
});

describe('figures', () => {
  it('say how far off they are, and why where that is far', () => {
    expect(deviationOf(figure({}))).toBeCloseTo(0.05);
    expect(deviationOf(figure({ published: null }))).toBeNull();
    expect(misses(figure({ simulated: 2.19 }))).toBe(false);
    expect(misses(figure({ simulated: 2.21 }))).toBe(true);
    const lines = figureLines([figure({ simulated: 3, why: 'because' }), figure({ why: 'not told' })]);
    expect(lines[1]).toMatch(/2 s +3 s +\+50\.0 % +predicted/);
    expect(lines.slice(3)).toEqual(['  f: because']);
  });

  it('are summed up by what was fitted and what was not', () => {
    const figures = [
      figure({}),
      figure({ simulated: 3 }),
      figure({ kind: 'fitted' }),
      figure({ published: null, kind: 'unpublished' }),
    ];
    expect(summaryLine(figures)).toBe('2 predicted figures, 1 of them within 10 %; 1 fitted; 1 without a published number');
  });
});

describe('papers', () => {
  it('have names of their own', () => {
    expect(new Set(PAPERS.map(({ name }) => name)).size).toBe(PAPERS.length);
  });

  it('reproduce the steps of the hello guest exactly', async () => {
    const none = { run: () => Promise.reject(new Error('no simulation is needed')) };
    const figures = await fastForward.run(none, 1 / 4);
    expect(figures.slice(0, 2).map(({ published, simulated }) => [published, simulated])).toEqual([
      [9216, 9216],
      [303, 303],
    ]);
    expect(Math.abs(deviationOf(figures[3])!)).toBeLessThan(0.02);
    // Large guests with little in them gain most; an only-present walk visits what is there and the way to it.
    const simulated = (name: string): number => figures.find((figure) => figure.name === name)!.simulated;
    for (const shape of ['64G, a page in each 1G', '4G, a page in each 64M', '128M, a page in each 2M']) {
      const [plain, passing, present] = ['plain', 'passing up to 32', 'present entries only'].map((way) =>
        simulated(`${shape}: ${way}`),
      );
      expect(plain / passing).toBeGreaterThan(25);
      expect(passing / present).toBeGreaterThan(5);
    }
    expect(simulated('64G, a page in each 1G: present entries only')).toBeLessThan(8 * 64);
  });
});
