/** Builds the simulator with one mutant in it, and hunts it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';
import type { HuntOptions, HuntResult } from '../../src/bugs/hunt.ts';
import { ROOT } from '../../src/build/paths.mjs';
import { watPlugin } from '../../src/build/wat-plugin.mjs';
import { loadAllScenarios } from '../../src/scenarios/library.ts';
import type { ScenarioFile } from './entry.ts';
import type { Mutant } from './mutants.ts';

type Entry = typeof import('./entry.ts');

/** How often the place of a mutant occurs in its file: once, or the list is out of date. */
export function occurrences({ file, find }: Mutant): number {
  return readFileSync(path.join(ROOT, 'src', file), 'utf8').split(find).length - 1;
}

/** Loads a bundle of the simulator in which `mutant` is in place; without one, as it is. */
async function load(mutant: Mutant | null): Promise<Entry> {
  // Below node_modules, where the packages are found that the bundle leaves out.
  const cache = path.join(ROOT, 'node_modules/.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(path.join(cache, 'mutant-'));
  try {
    const build = await rolldown({
      cwd: ROOT,
      input: path.join(ROOT, 'test/mutation/entry.ts'),
      platform: 'node',
      tsconfig: false,
      external: /^[^./\0]/,
      logLevel: 'silent',
      plugins: [
        watPlugin(),
        {
          name: 'mutant',
          transform(code: string, id: string) {
            if (mutant === null || path.relative(path.join(ROOT, 'src'), id) !== mutant.file) return null;
            return code.replace(mutant.find, () => mutant.replace);
          },
        },
      ],
    });
    const file = path.join(folder, 'mutant.mjs');
    await build.write({ file, format: 'esm' });
    await build.close();
    return (await import(pathToFileURL(file).href)) as Entry;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Hunts `mutant` through all scenarios, with one policy after the other until one catches it. */
export async function huntMutant(mutant: Mutant | null, policies: readonly Partial<HuntOptions>[]): Promise<HuntResult> {
  const { huntIn } = await load(mutant);
  const scenarios: ScenarioFile[] = loadAllScenarios().map(({ name, text }) => ({ name, text }));
  let result: HuntResult | null = null;
  for (const options of policies) {
    result = await huntIn(scenarios, options);
    if (result.caught !== null) break;
  }
  return result!;
}
