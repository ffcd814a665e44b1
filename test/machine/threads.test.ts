/** The machine on real threads: bundled with its coroutines erased, as the workers are. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { erasePlugin } from '../../src/build/erase-plugin.mjs';
import { ROOT } from '../../src/build/paths.mjs';
import { watPlugin } from '../../src/build/wat-plugin.mjs';
import { ArenaLayout } from '../../src/machine/arena.ts';
import { ALLOCATOR_WORDS, PAGE_DESCRIPTOR_WORDS } from '../../src/machine/page-allocator.ts';
import { RCU_WORDS } from '../../src/machine/rcu.ts';
import { RWLOCK_WORDS } from '../../src/machine/rwlock.ts';
import { createArena } from '../../src/machine/shared-arena.ts';
import { SPINLOCK_WORDS } from '../../src/machine/spinlock.ts';
import { THREAD_WORDS } from '../../src/machine/thread.ts';
import { VCPU_REQUEST_WORDS } from '../../src/machine/tlb-shootdown.ts';
import { INITIAL } from './machine.ts';
import type { StressOptions } from './stress-worker.ts';

const THREADS = 4;
const ROUNDS = 2000;
const PAGES = 64;
const ENTRIES = 8;
const FLAVOURS = ['direct', 'perturbed'] as const;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'machine-'));
  for (const flavour of FLAVOURS) {
    const build = await rolldown({
      input: path.join(import.meta.dirname, 'stress-worker.ts'),
      platform: 'node',
      plugins: [erasePlugin({ root: ROOT, flavour }), watPlugin()],
    });
    await build.write({ file: path.join(folder, `${flavour}.mjs`), format: 'esm' });
    await build.close();
  }
});

afterAll(() => rm(folder, { recursive: true }));

function run(file: string, options: StressOptions): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(file, { workerData: options });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

describe('the machine on threads', () => {
  it.each([
    ['direct', false],
    ['direct', true],
    ['perturbed', true],
  ] as const)('excludes, keeps pages alive and flushes: %s points, WebAssembly %s', async (flavour, wasm) => {
    const layout = new ArenaLayout();
    const threads = layout.reserve('threads', THREADS * THREAD_WORDS);
    const options = {
      wasm,
      threads,
      threadCount: THREADS,
      spinLock: layout.reserve('spinlock', SPINLOCK_WORDS),
      rwLock: layout.reserve('rwlock', RWLOCK_WORDS),
      requests: layout.reserve('requests', THREADS * VCPU_REQUEST_WORDS),
      words: layout.reserve('words', 80),
      rounds: ROUNDS,
      allocator: {
        tables: layout.reserve('tables', PAGES * ENTRIES * 2),
        descriptors: layout.reserve('descriptors', PAGES * PAGE_DESCRIPTOR_WORDS),
        state: layout.reserve('allocator', ALLOCATOR_WORDS),
        pages: PAGES,
        entries: ENTRIES,
        initial: INITIAL,
      },
      rcu: { base: layout.reserve('rcu', RCU_WORDS), threads, threadCount: THREADS },
    };
    const { words, wasm: arena } = createArena(layout.words);
    const outcomes = await Promise.all(
      Array.from({ length: THREADS }, (_, id) => run(path.join(folder, `${flavour}.mjs`), { ...options, arena: arena!, id })),
    );
    expect(outcomes).toEqual(Array(THREADS).fill([]));
    expect(words[options.words]).toBe(THREADS * ROUNDS);
    expect(words[options.words + 16]).toBe((THREADS * ROUNDS) / 4);
    expect(words[options.words + 17]).toBe((THREADS * ROUNDS) / 4);
  });
});
