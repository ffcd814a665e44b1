import { describe, expect, it } from 'vitest';
import { KERNELS, type KernelGeneration } from '../../src/mmu/generation.ts';
import { type BehaviourName, GENERATION_ORIGINS } from '../../src/mmu/generation-origins.ts';
import { behaviourText, kernelRecord, kernelTable, originTable } from '../../src/report/kernel-table.ts';

const generations = Object.values(KERNELS);
const behaviours = Object.keys(GENERATION_ORIGINS) as BehaviourName[];
const textOf = (kernel: KernelGeneration, name: BehaviourName): string => behaviourText(kernel[name]);

describe('the table of kernels', () => {
  it('knows the origin of every behaviour that a generation has', () => {
    for (const kernel of generations) {
      expect(
        Object.keys(kernel)
          .filter((key) => key !== 'name')
          .sort(),
      ).toEqual([...behaviours].sort());
    }
  });

  it('has a change for each difference between two neighbours, in a release that lies between them', () => {
    const releases = generations.map(({ name }) =>
      Number(name.replace(/^(\d)\.(\d+)$/, (_, a, b) => String(a * 1000 + Number(b)))),
    );
    for (const name of behaviours) {
      for (let i = 1; i < generations.length; i++) {
        const [before, after] = [generations[i - 1], generations[i]];
        if (textOf(before, name) === textOf(after, name)) continue;
        const between = GENERATION_ORIGINS[name].changes.some(({ release }) => {
          if (release.startsWith('longterm'))
            return [before.name, after.name].includes(release.replace('longterm ', '') as '6.1');
          const [major, minor] = release.split('.').map(Number);
          const at = major * 1000 + minor;
          return at > releases[i - 1] && at <= releases[i];
        });
        expect(between, `${name} differs between ${before.name} and ${after.name}`).toBe(true);
      }
    }
  });

  it('names hashes of twelve digits, and subjects', () => {
    for (const { changes } of Object.values(GENERATION_ORIGINS)) {
      expect(changes.length).toBeGreaterThan(0);
      for (const { commit, subject } of changes) {
        expect(subject).not.toBe('');
        if (commit !== null) expect(commit).toMatch(/^[0-9a-f]{12}$/);
      }
    }
  });

  it('prints a row for each, and the same as JSON', () => {
    expect(kernelTable()[0]).toMatch(/behaviour +5\.15 +5\.18 +6\.1 +6\.12 +6\.13/);
    expect(kernelTable().find((line) => line.startsWith('walks of a root zap'))).toMatch(
      /root +3 root +3 root +1 2 3 root +1 2 3 root$/,
    );
    expect(originTable().some((line) => line.includes('0df9dab891ff'))).toBe(true);
    const { behaviours: rows } = kernelRecord() as { behaviours: { name: string; values: Record<string, string> }[] };
    expect(rows.find(({ name }) => name === 'hugeOnFault')?.values).toEqual({
      '5.15': 'zap', '5.18': 'zap', '6.1': 'zap', '6.12': 'split', '6.13': 'split',
    }); // biome-ignore format: a row
  });
});
