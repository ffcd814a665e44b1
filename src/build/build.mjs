/**
 * The build command: `node src/build/build.mjs [--clean]` builds what is stale, or everything from nothing.
 */
import { rmSync } from 'node:fs';
import { ensureFresh } from './fresh.mjs';
import { DIST } from './paths.mjs';

const start = performance.now();
if (process.argv.includes('--clean')) rmSync(DIST, { recursive: true, force: true });
const built = await ensureFresh();
console.error(built ? `built dist/ in ${Math.round(performance.now() - start)} ms` : 'dist/ is up to date');
