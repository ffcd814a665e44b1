/** The test programs as a module that worker threads can load, sharing the bundled explorer's scheduling points. */
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const ROOT = path.resolve(import.meta.dirname, '../../..');

/** Bundles `programs.ts` into `folder` and returns the URL of the result. */
export async function bundlePrograms(folder: string): Promise<string> {
  const file = path.join(folder, 'programs.mjs');
  const explorer = pathToFileURL(path.join(ROOT, 'dist/explore.js')).href;
  const build = await rolldown({
    input: path.join(import.meta.dirname, 'programs.ts'),
    platform: 'node',
    plugins: [
      {
        name: 'bundled-explorer',
        resolveId: (id: string) => (id.endsWith('/src/explore.ts') ? { id: explorer, external: true } : null),
      },
    ],
  });
  await build.write({ file, format: 'esm' });
  await build.close();
  return pathToFileURL(file).href;
}
