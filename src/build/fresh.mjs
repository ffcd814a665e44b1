/**
 * Keeps `dist/` in step with the sources: whoever is about to run a bundle calls {@link ensureFresh} first.
 *
 * The check reads every source file and compares one hash, so neither a restored timestamp nor a switched branch can
 * leave a stale bundle behind, and it does not load the bundler. Several processes may call it at once.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DIST, ROOT } from './paths.mjs';

/** What bundles are made from: files, and folders with all that is in them. */
const INPUTS = ['package.json', 'package-lock.json', 'src', 'workers', 'bench'];
const MANIFEST = path.join(DIST, '.manifest.json');
const LOCK = path.join(DIST, '.lock');

const POLL_MS = 20;
/** A build takes less than a second; a lock of this age outlived its owner, even if another process has its number now. */
const LOCK_MAX_MS = 60_000;
/** How long a file that no longer belongs to the build is kept: a running process may still be about to load it. */
const KEEP_MS = 10 * 60_000;

/**
 * Rebuilds `dist/` if the sources have changed.
 *
 * @returns {Promise<boolean>} whether it had to
 */
export async function ensureFresh() {
  if (isFresh(hashInputs())) return false;
  mkdirSync(DIST, { recursive: true });
  await lock();
  try {
    // Hashed before the build: a file saved meanwhile makes the next check fail, not pass.
    const inputs = hashInputs();
    if (isFresh(inputs)) return false;
    const { bundle } = await import('./bundle.mjs');
    install(await bundle(), inputs);
    return true;
  } finally {
    rmSync(LOCK, { force: true });
  }
}

/** @type {(inputs: string) => boolean} */
function isFresh(inputs) {
  try {
    const manifest = JSON.parse(readFileSync(MANIFEST, 'utf8'));
    return manifest.inputs === inputs && manifest.files.every((/** @type {string} */ file) => existsSync(path.join(DIST, file)));
  } catch {
    return false;
  }
}

function hashInputs() {
  const hash = createHash('sha1');
  for (const input of INPUTS) {
    for (const file of filesUnder(path.join(ROOT, input)).sort()) {
      hash
        .update(`${path.relative(ROOT, file)}\0`)
        .update(readFileSync(file))
        .update('\0');
    }
  }
  return hash.digest('hex');
}

/** @type {(full: string) => string[]} */
function filesUnder(full) {
  if (!existsSync(full)) return [];
  if (!statSync(full).isDirectory()) return [full];
  return readdirSync(full, { withFileTypes: true })
    .filter(({ name }) => !name.startsWith('.'))
    .flatMap((entry) => (entry.isDirectory() ? filesUnder(path.join(full, entry.name)) : [path.join(full, entry.name)]));
}

/** @type {(outputs: import('./bundle.mjs').Output[], inputs: string) => void} */
function install(outputs, inputs) {
  for (const { file, contents } of outputs) replaceFile(path.join(DIST, file), contents);
  const files = outputs.map(({ file }) => file);
  replaceFile(MANIFEST, JSON.stringify({ inputs, files }, null, 1));

  const current = new Set(files.map((file) => path.join(DIST, file)));
  for (const file of filesUnder(DIST)) {
    const isBundle = /\.js(\.map)?$/.test(file);
    if (isBundle && !current.has(file) && Date.now() - statSync(file).mtimeMs > KEEP_MS) rmSync(file, { force: true });
  }
}

/**
 * Puts a new file in the place of an old one at once: there is no moment at which it is missing, or half written.
 *
 * @type {(file: string, contents: string | Uint8Array) => void}
 */
function replaceFile(file, contents) {
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.${process.pid}`);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(temporary, contents);
  renameSync(temporary, file);
}

/**
 * Waits for its turn to build. The lock saves work; what keeps `dist/` whole are the renames. So it does no harm that two
 * processes may both take over the lock of one that died.
 */
async function lock() {
  for (;;) {
    try {
      writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    }
    if (isAbandoned()) rmSync(LOCK, { force: true });
    else await sleep(POLL_MS);
  }
}

/** Whether nobody builds who holds the lock: it is too old, or its owner is dead. */
function isAbandoned() {
  try {
    const owner = Number(readFileSync(LOCK, 'utf8'));
    return Date.now() - statSync(LOCK).mtimeMs > LOCK_MAX_MS || (owner > 0 && !isAlive(owner));
  } catch {
    return false; // given back meanwhile
  }
}

/** @type {(pid: number) => boolean} */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}
