/**
 * Where the workers' bundles are: in `dist` of the package that this module, bundled or not, belongs to.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import manifest from '../../../package.json' with { type: 'json' };

/** The folder with the package's own package.json, at or above this module. Errors: there is none. */
function packageRoot(): string {
  const start = path.dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = path.dirname(folder)) {
    const file = path.join(folder, 'package.json');
    if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name === manifest.name) return folder;
    if (folder === path.dirname(folder)) throw new Error(`${start} is in no folder of the package ${manifest.name}`);
  }
}

/**
 * The bundle of `workers/NAME.ts`. `perturbed`: the flavour whose points delay at random. Errors: it was not built.
 */
export function workerFile(name: string, perturbed: boolean): string {
  const file = path.join(packageRoot(), 'dist', perturbed ? 'workers-perturbed' : 'workers', `${name}.js`);
  if (!existsSync(file)) throw new Error(`${file} is missing: build the package first`);
  return file;
}
