import { spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../src/build/paths.mjs';

let root = '';

beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), 'tdpsim-fresh-'));
  cpSync(path.join(ROOT, 'src/build'), path.join(root, 'src/build'), { recursive: true });
  cpSync(path.join(ROOT, 'src/cli/launcher.mjs'), path.join(root, 'src/cli/launcher.mjs'));
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(root, 'node_modules'));
  mkdirSync(path.join(root, 'workers'));
  write('package.json', '{ "type": "module" }');
  write('src/cli/main.ts', 'const version: number = 1;\nconsole.log(version);\n');
});
afterAll(() => rmSync(root, { recursive: true }));

const write = (file: string, text: string): void => writeFileSync(path.join(root, file), text);
const output = (file: string): string => readFileSync(path.join(root, 'dist', file), 'utf8');

/** Runs a script of the copy with node, and resolves to its exit code and what it printed. */
function run(script: string): Promise<{ status: number | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path.join(root, script)]);
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (err += chunk));
    child.on('close', (status) => resolve({ status, out, err }));
  });
}

describe('the bundles', () => {
  it('are built when they are missing, once, whoever asks at the same time', async () => {
    const runs = await Promise.all(Array.from({ length: 4 }, () => run('src/build/build.mjs')));
    expect(runs.map(({ status }) => status)).toEqual([0, 0, 0, 0]);
    expect(runs.filter(({ err }) => err.startsWith('built'))).toHaveLength(1);
    expect(readdirSync(path.join(root, 'dist')).sort()).toEqual(['.manifest.json', 'cli.js', 'cli.js.map']);
  });

  it('are rebuilt when a source has changed, even if its size and time have not', async () => {
    const main = path.join(root, 'src/cli/main.ts');
    const time = new Date(1_000_000_000_000);
    utimesSync(main, time, time);
    expect((await run('src/cli/launcher.mjs')).out).toBe('1\n');
    write('src/cli/main.ts', 'const version: number = 2;\nconsole.log(version);\n');
    utimesSync(main, time, time);
    expect((await run('src/cli/launcher.mjs')).out).toBe('2\n');
    expect((await run('src/build/build.mjs')).err).toBe('dist/ is up to date\n');
  });

  it('are rebuilt when one of them is gone', async () => {
    rmSync(path.join(root, 'dist/cli.js'));
    expect((await run('src/cli/launcher.mjs')).out).toBe('2\n');
  });

  it('are erased for workers, and keep their coroutines where the first line says so', async () => {
    mkdirSync(path.join(root, 'src/machine'));
    write('src/machine/point.ts', 'export const read = (a: number) => a;\n');
    write('src/machine/point.direct.ts', 'export const read = (a: number) => a;\n');
    write('src/machine/point.perturbed.ts', "export const read = (a: number) => a; console.log('perturbed');\n");
    write('src/machine/f.ts', "import { read } from './point.ts';\nexport function* f(): Task<void> { yield read(1); }\n");
    write('workers/vcpu.ts', "import { f } from '../src/machine/f.ts';\nexport default f;\n");
    write('workers/explore.ts', "// coroutines\nimport { f } from '../src/machine/f.ts';\nexport default f;\n");
    expect((await run('src/build/build.mjs')).status).toBe(0);
    expect(output('workers/vcpu.js')).not.toMatch(/function\s*\*|yield/);
    expect(output('workers/explore.js')).toMatch(/function\s*\*/);
    expect(output('workers-perturbed/vcpu.js')).toContain('perturbed');
    expect(readdirSync(path.join(root, 'dist/workers-perturbed'))).not.toContain('explore.js');
  });

  it('take over from a build that died', async () => {
    write('dist/.lock', '999999999');
    write('src/cli/main.ts', 'console.log(3);\n');
    expect((await run('src/cli/launcher.mjs')).out).toBe('3\n');
  });

  it('stay as they are when the sources do not build, which ends the command', async () => {
    write('src/cli/main.ts', 'console.log(;\n');
    const { status, out, err } = await run('src/cli/launcher.mjs');
    expect({ status, out }).toEqual({ status: 1, out: '' });
    expect(err).toMatch(/^tdpsim: the sources do not build\n[\s\S]*main\.ts/);
    expect(output('cli.js')).toContain('console.log(3)');
    expect(readdirSync(path.join(root, 'dist')).filter((name) => name.startsWith('.'))).toEqual(['.manifest.json']);
  });

  it('trace errors back to the source', async () => {
    write('src/cli/main.ts', "const version: number = 4;\n\nthrow new Error('at line 3 of ' + version);\n");
    expect((await run('src/cli/launcher.mjs')).err).toContain(`${realpathSync(root)}/src/cli/main.ts:3:7`);
  });
});
