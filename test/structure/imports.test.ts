import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { FLAVOURS } from '../../src/build/erase-plugin.mjs';
import { type Source, sourcesUnder } from './sources.ts';

/** Folders of `src` from the ground up: a file may import from its own rank and from lower ones. */
const RANKS: Record<string, number> = {
  machine: 0,
  mmu: 1,
  shadow: 2,
  vm: 3,
  engines: 4,
  workloads: 5,
  scenarios: 5,
  oracles: 5,
  bugs: 5,
  report: 6,
  simulate: 6,
  paper: 6,
  script: 5,
  conform: 6,
  cli: 7,
};
/** Files directly under `src`: the public surface. */
const SURFACE_RANK = 8;
/** The build stands alone: it neither imports the simulator nor is imported by it. */
const BUILD = 'build';

/** The folder of `src` that a file belongs to; empty for the public surface. */
const folderOf = (file: string): string => (file.split('/').length > 2 ? file.split('/')[1] : '');

/** Why `from` may not import `to`, or nothing. */
function objection(from: string, to: string): string | undefined {
  if (!to.startsWith('src/')) return from.startsWith('src/') && !/\.json$/.test(to) ? 'src imports only from src' : undefined;
  const [above, below] = [folderOf(from), folderOf(to)];
  if (above === below) return undefined;
  if (above === BUILD || below === BUILD) return 'src/build stands alone';
  const [high, low] = [above, below].map((folder) => (folder === '' ? SURFACE_RANK : RANKS[folder]));
  return high < low ? `src/${above} comes before src/${below || 'index.ts'}, and knows nothing of it` : undefined;
}

/** A cycle of imports as a list of files that ends where it begins, or nothing. Types may refer to each other. */
function findCycle(sources: readonly Source[]): string[] | undefined {
  const graph = new Map(sources.map(({ file, imports }) => [file, imports.filter((to) => !to.typeOnly).map((to) => to.file)]));
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (file: string): string[] | undefined => {
    if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file];
    if (done.has(file)) return undefined;
    trail.push(file);
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next);
      if (cycle) return cycle;
    }
    trail.pop();
    done.add(file);
    return undefined;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file);
    if (cycle) return cycle;
  }
  return undefined;
}

const sources = sourcesUnder('src');

describe('the import graph of src', () => {
  it('has only folders with a place in the order', () => {
    const unknown = sources.map(({ file }) => folderOf(file)).filter((name) => name !== '' && name !== BUILD && !(name in RANKS));
    expect([...new Set(unknown)]).toEqual([]);
  });

  it('runs one way', () => {
    const wrong = sources.flatMap(({ file, imports }) =>
      imports.flatMap((to) => {
        const why = objection(file, to.file);
        return why ? [`${file}:${to.line} imports ${to.file}: ${why}`] : [];
      }),
    );
    expect(wrong).toEqual([]);
  });

  it('has no cycles', () => {
    expect(findCycle(sources)?.join(' -> ')).toBeUndefined();
  });

  it('names the scheduling points, not what the build puts in their place', () => {
    const replacements = Object.values(FLAVOURS);
    const wrong = sources
      .filter(({ file }) => !replacements.includes(file))
      .flatMap(({ file, imports }) => imports.filter((to) => replacements.includes(to.file)).map((to) => `${file}:${to.line}`));
    expect(wrong).toEqual([]);
  });

  it('finds what it imports', () => {
    const files = new Set(sources.map(({ file }) => file));
    const missing = sources.flatMap(({ file, imports }) =>
      imports
        .filter((to) => to.file.startsWith('src/') && /\.m?[tj]s$/.test(to.file) && !files.has(to.file))
        .map((to) => `${file}:${to.line} imports ${to.file}, which does not exist`),
    );
    expect(missing).toEqual([]);
  });
});

describe('the check itself', () => {
  it.each([
    ['src/machine/rwlock.ts', 'src/mmu/spte.ts'],
    ['src/mmu/fault.ts', 'src/shadow/rmap.ts'],
    ['src/engines/threads/pool.ts', 'src/oracles/tree.ts'],
    ['src/vm/vm.ts', 'src/index.ts'],
    ['src/cli/main.ts', 'src/build/fresh.mjs'],
    ['src/build/bundle.mjs', 'src/machine/point.ts'],
    ['src/vm/vm.ts', 'test/structure/sources.ts'],
  ])('objects to %s importing %s', (from, to) => {
    expect(objection(from, to)).toBeDefined();
  });

  it.each([
    ['src/mmu/fault.ts', 'src/machine/point.ts'],
    ['src/mmu/fault.ts', 'src/mmu/spte.ts'],
    ['src/oracles/tree.ts', 'src/engines/engine.ts'],
    ['src/index.ts', 'src/cli/main.ts'],
    ['src/cli/main.ts', 'package.json'],
  ])('lets %s import %s', (from, to) => {
    expect(objection(from, to)).toBeUndefined();
  });

  it('finds a cycle', () => {
    const source = (file: string, ...to: string[]): Source =>
      ({ file, imports: to.map((name) => ({ file: name, line: 1 })) }) as unknown as Source;
    expect(findCycle([source('a', 'b', 'c'), source('b'), source('c', 'd'), source('d', 'b', 'a')])).toEqual([
      'a',
      'c',
      'd',
      'a',
    ]);
    expect(findCycle([source('a', 'b', 'c'), source('b', 'c'), source('c')])).toBeUndefined();
  });

  it('reads imports, re-exports, types and dynamic imports', () => {
    const own = sourcesUnder('test/structure').find(({ file }) => path.basename(file) === 'imports.test.ts');
    expect(own?.imports.map(({ file }) => file)).toEqual(['src/build/erase-plugin.mjs', 'test/structure/sources.ts']);
    const fresh = sources.find(({ file }) => file === 'src/build/fresh.mjs');
    expect(fresh?.imports.map(({ file }) => file)).toContain('src/build/bundle.mjs');
  });
});
