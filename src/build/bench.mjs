/**
 * Runs the benchmarks, one process after the other: `npm run bench [-- NAME...]`.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { ensureFresh } from './fresh.mjs';
import { DIST, ROOT } from './paths.mjs';

await ensureFresh();
const known = existsSync(path.join(ROOT, 'bench'))
  ? readdirSync(path.join(ROOT, 'bench')).flatMap((file) => (file.endsWith('.ts') ? [path.basename(file, '.ts')] : []))
  : [];
const asked = process.argv.slice(2);
const unknown = asked.find((name) => !known.includes(name));
if (unknown !== undefined) {
  console.error(`no benchmark ${unknown}: there are ${known.join(', ') || 'none'}`);
  process.exit(1);
}
for (const name of asked.length > 0 ? asked : known) {
  const { status } = spawnSync(process.execPath, ['--enable-source-maps', path.join(DIST, 'bench', `${name}.js`)], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
}
