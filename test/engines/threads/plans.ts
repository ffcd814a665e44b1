/** Plans and a worker for tests of the threads engine. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { rolldown } from 'rolldown';
import { erasePlugin, type FLAVOURS } from '../../../src/build/erase-plugin.mjs';
import { ROOT } from '../../../src/build/paths.mjs';
import { watPlugin } from '../../../src/build/wat-plugin.mjs';
import type { EngineHooks, EnginePlan, EngineThread } from '../../../src/engines/plan.ts';

/** Programs that share nothing but the VM. */
export const HOOKS: EngineHooks = { controlWords: 0 };

/** Threads by their programs, `daemon:` before those that serve others. */
export function planOf(programs: readonly string[], options: EnginePlan['options'] = {}): EnginePlan {
  const threads = programs.map((entry, index): EngineThread => {
    const daemon = entry.startsWith('daemon:');
    return { role: 'vcpu', name: `vcpu ${index}`, program: entry.replace('daemon:', ''), index, daemon };
  });
  return { workload: 'test', options, seed: 1, vm: { tablePages: 16 }, params: {}, threads };
}

/** Bundles an entry as the workers are, into a folder that `remove` deletes. */
export async function bundleWorker(
  entry: string,
  flavour: keyof typeof FLAVOURS = 'direct',
): Promise<{ file: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tdpsim-'));
  const file = path.join(folder, 'worker.mjs');
  const build = await rolldown({
    cwd: ROOT,
    input: entry,
    platform: 'node',
    external: /^[^./\0]/,
    plugins: [erasePlugin({ root: ROOT, flavour }), watPlugin()],
  });
  await build.write({ file, format: 'esm', sourcemap: true });
  await build.close();
  return { file, remove: () => rm(folder, { recursive: true }) };
}
