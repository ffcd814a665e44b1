/** What `tdpsim explore` takes: a scenario by name or file, or a user's own program in a module. */
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { ProgramSource } from '../engines/explore/program-source.ts';
import type { BugSwitches } from '../mmu/bug-switches.ts';
import { UsageError } from '../workloads/usage-error.ts';
import type { Scenario } from './scenario.ts';

const MODULE = /\.[cm]?[jt]s$/;

export const isModuleFile = (name: string): boolean => MODULE.test(name);

/** A file of the built package, or null where nothing was built. */
function built(file: string): URL | null {
  for (let at = new URL('.', import.meta.url); ; at = new URL('..', at)) {
    for (const place of [file, `dist/${file}`]) {
      const found = new URL(place, at);
      if (place.startsWith('dist/') || at.pathname.endsWith('/dist/')) if (existsSync(fileURLToPath(found))) return found;
    }
    if (new URL('..', at).href === at.href) return null;
  }
}

/** A scenario as workers load it. Errors: UsageError where nothing was built. */
export function scenarioSource(scenario: Scenario, bugs: BugSwitches): ProgramSource {
  const module = built('scenarios.js');
  if (module === null) throw new UsageError('--jobs above 1 needs the built package: run npm run build');
  const { name, text } = scenario;
  return { module: module.href, args: [{ name, file: scenario.script.file, text, bugs }] };
}

/**
 * A user's module: its default export is a program. TypeScript is bundled first, with `tdpsim/explore` left to this package, so
 * that both share its scheduling points. Errors: UsageError.
 */
export async function moduleSource(file: string): Promise<ProgramSource> {
  if (!existsSync(file)) throw new UsageError(`there is no file ${file}`);
  const explorer = built('explore.js');
  if (explorer === null) throw new UsageError(`${file}: a program of one's own needs the built package: run npm run build`);
  const { rolldown } = await import('rolldown');
  const out = path.join(mkdtempSync(path.join(tmpdir(), 'tdpsim-')), 'program.mjs');
  try {
    const bundle = await rolldown({
      input: path.resolve(file),
      platform: 'node',
      plugins: [
        {
          name: 'explorer',
          resolveId: (id: string) => (id === 'tdpsim/explore' ? { id: explorer.href, external: true } : null),
        },
      ],
      external: /^(node|file):/,
    });
    await bundle.write({ file: out, format: 'esm' });
    await bundle.close();
  } catch (error) {
    throw new UsageError(`${file} does not build: ${(error as Error).message.split('\n')[0]}`);
  }
  return { module: pathToFileURL(out).href };
}
