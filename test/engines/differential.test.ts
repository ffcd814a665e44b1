/**
 * The engines agree: one sequence of operations leaves the same arena, word for word, the same results and the same counters as
 * coroutines over plain memory, in the explorer, on the virtual clock, and erased over both memories for threads.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { type Plugin, rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { erase, erasePlugin, type FLAVOURS } from '../../src/build/erase-plugin.mjs';
import { ROOT } from '../../src/build/paths.mjs';
import { watPlugin } from '../../src/build/wat-plugin.mjs';
import { explore } from '../../src/engines/explore/explore.ts';
import { VirtualEngine } from '../../src/engines/virtual/engine.ts';
import { laptop8 } from '../../src/engines/virtual/profiles/index.ts';
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { runToEnd } from '../../src/machine/run.ts';
import { createArena } from '../../src/machine/shared-arena.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { type VmConfig, vmConfig } from '../../src/vm/vm-config.ts';
import { VmCounter } from '../../src/vm/vm-counters.ts';
import { VmLayout } from '../../src/vm/vm-layout.ts';
import type { ErasedRun } from './differential/erased-worker.ts';
import { openSequenceVm } from './differential/open-vm.ts';
import { CONFIG, sequence } from './differential/sequence.ts';

interface Outcome {
  readonly words: Int32Array;
  readonly log: readonly number[];
  readonly counters: readonly number[];
}

const VARIANTS: Readonly<Record<string, Partial<VmConfig>>> = {
  'NPT, 6.12': CONFIG,
  'EPT, 6.1, without A/D bits': { ...CONFIG, cpu: 'ept', kernel: '6.1', adBits: false },
  'NPT, 5.15, spinlock, no eager splitting': { ...CONFIG, kernel: '5.15', lock: 'spinlock', params: { eagerPageSplit: 0 } },
  'NPT, 6.12, no eager splitting': { ...CONFIG, params: { eagerPageSplit: 0 } },
  'EPT, 6.12, 512 entries': { ...CONFIG, cpu: 'ept', entries: 512, maxGfn: 2 ** 34 },
};

const FLAVOUR_NAMES = ['direct', 'perturbed'] as const;
let folder: string;

/** Erases the sequence, too: it is outside of the folders that the product's plugin looks at. */
const eraseSequence: Plugin = {
  name: 'erase-sequence',
  transform: {
    filter: { id: /differential\/sequence\.ts$/ },
    handler: (code, id) => {
      const erased = erase(code, id);
      return erased && { code: erased.code, map: erased.map.toString() };
    },
  },
};

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tdpsim-'));
  for (const flavour of FLAVOUR_NAMES) {
    const build = await rolldown({
      input: path.join(import.meta.dirname, 'differential/erased-worker.ts'),
      platform: 'node',
      plugins: [eraseSequence, erasePlugin({ root: ROOT, flavour }), watPlugin()],
    });
    await build.write({ file: path.join(folder, `${flavour}.mjs`), format: 'esm' });
    await build.close();
  }
});
afterAll(() => rm(folder, { recursive: true }));

const arenaWords = (config: Partial<VmConfig>): number => new VmLayout(vmConfig(config)).arenaWords;

function asCoroutines(config: Partial<VmConfig>): Outcome {
  const words = new Int32Array(new SharedArrayBuffer(4 * arenaWords(config)));
  const memory = new PlainMemory(words);
  const { vm, counters } = openSequenceVm(memory, config);
  const log = runToEnd(memory, sequence(vm));
  return { words, log, counters: [...counters] };
}

async function erased(flavour: keyof typeof FLAVOURS, config: Partial<VmConfig>, wasm: boolean, perturb = 0): Promise<Outcome> {
  const { words, wasm: arena } = createArena(arenaWords(config));
  const run: ErasedRun = { arena: arena!, wasm, config, perturb };
  const worker = new Worker(path.join(folder, `${flavour}.mjs`), { workerData: run });
  const outcome = await new Promise<Omit<Outcome, 'words'>>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await worker.terminate();
  return { ...outcome, words: words.slice(0, arenaWords(config)) };
}

function onTheVirtualClock(config: Partial<VmConfig>): Outcome {
  const words = new Int32Array(new SharedArrayBuffer(4 * arenaWords(config)));
  // A thread that has its CPU for itself is never asked to give it away.
  const profile = { ...laptop8, scheduler: { ...laptop8.scheduler, resched: 'never' as const } };
  const engine = new VirtualEngine({ words, profile, seed: 1 });
  const counters = new Float64Array(COUNTER_SLOTS);
  let log: number[] = [];
  engine.addTask({
    name: 'all',
    cpu: 0,
    counters,
    *body(environment) {
      log = yield* sequence(openSequenceVm(environment.memory, config, environment).vm);
    },
  });
  expect(engine.run()).toEqual({ status: 'done' });
  expect(engine.timeNs).toBeGreaterThan(0);
  return { words, log, counters: [...counters] };
}

async function inTheExplorer(config: Partial<VmConfig>): Promise<Outcome> {
  let words = new Int32Array();
  let log: number[] = [];
  const counters = new Float64Array(COUNTER_SLOTS);
  const report = await explore(
    {
      name: 'sequence',
      words: arenaWords(config),
      threads: [
        {
          name: 'all',
          *run(memory) {
            counters.fill(0);
            const environment = { memory, now: () => 0, needResched: () => false, counters, probe: null };
            log = yield* sequence(openSequenceVm(memory, config, environment).vm);
          },
        },
      ],
      check: (final) => {
        words = final.slice();
        return null;
      },
    },
    { policy: 'round-robin', executions: 1, depth: 10_000_000, repeatEvery: 0, states: false, shrink: false },
  );
  expect(report.findings).toEqual([]);
  return { words, log, counters: [...counters] };
}

/** The first word that differs, and what it belongs to; nothing where all are equal. */
function difference(config: Partial<VmConfig>, expected: Outcome, found: Outcome): string | undefined {
  const at = expected.words.findIndex((word, i) => word !== found.words[i]);
  if (at < 0) return undefined;
  const region = new VmLayout(vmConfig(config)).arena.find(at as never);
  return `word ${at} (${region?.name} + ${at - (region?.base ?? 0)}): ${expected.words[at]}, here ${found.words[at]}`;
}

describe.each(Object.entries(VARIANTS))('%s', (_name, config) => {
  let reference: Outcome;

  const expectSame = (found: Outcome) => {
    expect(found.log).toEqual(reference.log);
    expect(difference(config, reference, found)).toBeUndefined();
    expect(found.words.length).toBe(reference.words.length);
    expect(found.counters).toEqual(reference.counters);
  };

  beforeAll(() => {
    reference = asCoroutines(config);
  });

  it('comes by what is to be compared', () => {
    const { counters } = reference;
    for (const counter of [
      'pf_fixed',
      'leaves_zapped',
      'splits_fault',
      'collapses',
      'tables_removed',
      'roots_invalidated',
    ] as const) {
      // 5.15 zaps a huge page where a fault wants a smaller one.
      if (counter === 'splits_fault' && (config.params?.eagerPageSplit !== 0 || config.kernel === '5.15')) continue;
      expect([counter, counters[MmuCounter[counter]]]).toEqual([counter, expect.toSatisfy((n: number) => n > 0)]);
    }
    expect(counters[VmCounter.notifier_invalidations]).toBeGreaterThan(0);
    expect(counters[VmCounter.dirty_log_clears]).toBeGreaterThan(0);
  });

  it('is the same twice', () => {
    expectSame(asCoroutines(config));
  });

  it('is the same erased, over Atomics', async () => {
    expectSame(await erased('direct', config, false));
  });

  it('is the same erased, over WebAssembly', async () => {
    expectSame(await erased('direct', config, true));
  });

  it('is the same erased with delays', async () => {
    expectSame(await erased('perturbed', config, true, 0.001));
  });

  it('is the same on the virtual clock', () => {
    expectSame(onTheVirtualClock(config));
  });

  it('is the same in the explorer', async () => {
    expectSame(await inTheExplorer(config));
  });
});
