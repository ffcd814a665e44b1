/**
 * Builds everything that runs outside of the test runner into `dist/`.
 *
 *   dist/cli.js               src/cli/main.ts, coroutines kept
 *   dist/index.js             src/index.ts, the library
 *   dist/explore.js           src/explore.ts, the library's explorer alone
 *   dist/scenarios.js         src/scenarios/program-module.ts, the scenarios for the explorer's workers
 *   dist/workers/NAME.js      workers/NAME.ts, coroutines erased
 *   dist/workers-perturbed/   the same, with scheduling points that delay at random
 *   dist/bench/NAME.js        bench/NAME.ts, coroutines kept
 *
 * The first line of a worker or a benchmark may choose otherwise: `// coroutines` keeps them, `// erased` erases them, and
 * `// resumable` makes plain functions of them that can be suspended.
 * Entries that do not exist are left out.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { rolldown } from 'rolldown';
import { erasePlugin, FLAVOURS } from './erase-plugin.mjs';
import { pagePlugin } from './page-plugin.mjs';
import { DIST, ROOT } from './paths.mjs';
import { watPlugin } from './wat-plugin.mjs';

/**
 * @typedef {'coroutines' | keyof typeof FLAVOURS} Form how the single source ends up in a bundle
 * @typedef {{ form: Form, folder: string, entries: Record<string, string> }} Job one run of the bundler
 * @typedef {{ file: string, contents: string | Uint8Array }} Output a file, named relative to {@link DIST}
 */

/** The bundles that are not found by listing a folder. */
const NAMED_ENTRIES = {
  cli: 'src/cli/main.ts',
  index: 'src/index.ts',
  explore: 'src/explore.ts',
  scenarios: 'src/scenarios/program-module.ts',
};

/**
 * Builds all bundles.
 *
 * @returns {Promise<Output[]>} what is to be in {@link DIST}; what others import comes before its importers
 */
export async function bundle() {
  return (await Promise.all(jobs().map(run))).flat();
}

/** @returns {Job[]} */
function jobs() {
  /** @type {(form: Form, folder: string, entries: Record<string, string>) => Job} */
  const job = (form, folder, entries) => ({ form, folder, entries });

  const named = Object.entries(NAMED_ENTRIES).filter(([, file]) => existsSync(path.join(ROOT, file)));
  const workers = entriesOf('workers', 'erased');
  const bench = entriesOf('bench', 'coroutines');
  const perturbed = existsSync(path.join(ROOT, FLAVOURS.perturbed)) ? workers.erased : {};

  return [
    job('coroutines', '', Object.fromEntries(named)),
    job('direct', 'workers', workers.erased),
    job('coroutines', 'workers', workers.coroutines),
    job('resumable', 'workers', workers.resumable),
    job('perturbed', 'workers-perturbed', perturbed),
    job('coroutines', 'bench', bench.coroutines),
    job('direct', 'bench', bench.erased),
    job('resumable', 'bench', bench.resumable),
  ].filter(({ entries }) => Object.keys(entries).length > 0);
}

/**
 * The entries of a folder by what their first line asks for.
 *
 * @param {string} folder
 * @param {'coroutines' | 'erased'} standard what holds for an entry that asks for nothing
 */
function entriesOf(folder, standard) {
  /** @type {Record<'coroutines' | 'erased' | 'resumable', Record<string, string>>} */
  const entries = { coroutines: {}, erased: {}, resumable: {} };
  const full = path.join(ROOT, folder);
  for (const name of existsSync(full) ? readdirSync(full).sort() : []) {
    if (!name.endsWith('.ts') || name.endsWith('.d.ts')) continue;
    const asked = /^\/\/ (coroutines|erased|resumable)$/m.exec(
      readFileSync(path.join(full, name), 'utf8').split('\n', 1)[0],
    )?.[1];
    const form = /** @type {keyof typeof entries | undefined} */ (asked) ?? standard;
    entries[form][path.basename(name, '.ts')] = path.join(folder, name);
  }
  return entries;
}

/** @type {(job: Job) => Promise<Output[]>} */
async function run({ form, folder, entries }) {
  const build = await rolldown({
    cwd: ROOT,
    input: entries,
    platform: 'node',
    tsconfig: false,
    transform: { target: 'node20.19' },
    // Packages are loaded from node_modules; everything else becomes part of the bundle.
    external: /^[^./\0]/,
    plugins: [watPlugin(), pagePlugin(), ...(form === 'coroutines' ? [] : [erasePlugin({ root: ROOT, flavour: form })])],
    onLog(level, log, handle) {
      // How long the bundler took says more about the machine than about the sources.
      if (log.code === 'PLUGIN_TIMINGS') return;
      // A warning that nobody reads is a bug that nobody sees.
      if (level === 'warn') throw new Error(log.message);
      handle(level, log);
    },
  });
  try {
    const { output } = await build.generate({
      dir: path.join(DIST, folder),
      format: 'esm',
      sourcemap: true,
      entryFileNames: '[name].js',
      chunkFileNames: 'chunks/[name]-[hash].js',
    });
    const entriesLast = output.toSorted((a, b) => Number('isEntry' in a && a.isEntry) - Number('isEntry' in b && b.isEntry));
    return entriesLast.map((made) => ({
      file: path.join(folder, made.fileName),
      contents: made.type === 'chunk' ? made.code : made.source,
    }));
  } finally {
    await build.close();
  }
}
