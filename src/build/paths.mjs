/**
 * Where things are.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package root. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Where bundles go. */
export const DIST = path.join(ROOT, 'dist');
