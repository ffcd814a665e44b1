/**
 * The engines agree on scripts: a script of one vCPU leaves the same VM, word for word, on worker threads, on the virtual clock
 * and in the explorer, makes the same changes in the same order there, and its calls say the same.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { explore } from '../../src/engines/explore/explore.ts';
import { layoutPlan } from '../../src/engines/plan.ts';
import { laptop8 } from '../../src/engines/virtual/profiles/index.ts';
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import { parseScript } from '../../src/script/parse.ts';
import { scriptPlan } from '../../src/script/plan.ts';
import type { PhaseRecord } from '../../src/script/record/event.ts';
import { type EngineScriptRun, runOnThreads, runOnVirtualClock } from '../../src/script/run-on-engine.ts';
import { RUN_DEFAULTS, runScript } from '../../src/script/run-script.ts';
import { createVm, openVm } from '../../src/vm/vm.ts';
import { runProgram } from '../../src/workloads/programs/index.ts';

/** Small tables, and most of what a script can say. */
const TEXT = `
vm vcpus=1 entries=16 manual=1
mem A type=thp size=1M populate=1
mem B type=4k size=256K
slot 1 gfn=0x100 npages=256 mem=A
slot 2 gfn=0x800 npages=64 mem=B
phase the guest works
touch vcpu=0 gfn=0x100 n=50 stride=5 op=w
touch vcpu=0 gfn=0x800 n=64 op=r
touch vcpu=0 gfn=0x800 n=20 op=w
touch vcpu=0 gfn=0x2000 n=2 op=r
phase dirty logging
setflags 1 flags=1
touch vcpu=0 gfn=0x100 n=60 stride=3 op=w
getlog 1
clearlog 1 first=0 n=256 every=2
touch vcpu=0 gfn=0x100 n=256 op=w
resched every=7
setflags 1 flags=0
resched every=0
phase the host
thread host
madvise A off=64K len=128K advice=dontneed
touch vcpu=0 gfn=0x110 n=40 op=w
age
madvise B off=0 len=64K advice=migrate
join
touch vcpu=0 gfn=0x800 n=64 op=x
phase zaps
zapall
zaprange gfn=0x100 n=16
touch vcpu=0 gfn=0x100 n=256 stride=31 op=w
moveslot 2 gfn=0xa00
touch vcpu=0 gfn=0xa00 n=64 op=w
delslot 1
phase the end
destroy
`;
const OPTIONS = { kernel: '6.12', flushOnEntry: false, seed: 1, reschedByScript: true } as const;
const SCRIPT = parseScript(TEXT, 'differential.kt');

/** The arena up to the control block, in which engines keep their own words. */
function vmWords(words: Int32Array): Int32Array {
  const { plan, controlWords } = scriptPlan(SCRIPT, OPTIONS);
  return words.slice(0, layoutPlan(plan, controlWords).control);
}

/** The first word that differs, and where it is; nothing where all are equal. */
function difference(expected: Int32Array, found: Int32Array): string | undefined {
  expect(found.length).toBe(expected.length);
  const at = expected.findIndex((word, i) => word !== found[i]);
  if (at < 0) return undefined;
  const { plan, controlWords } = scriptPlan(SCRIPT, OPTIONS);
  const region = layoutPlan(plan, controlWords).vm.arena.find(at as never);
  return `word ${at} (${region?.name} + ${at - (region?.base ?? 0)}): ${expected[at]}, here ${found[at]}`;
}

const told = (phases: readonly PhaseRecord[]) =>
  phases.map(({ results, events, counters, end }) => ({ results, events, counters, end }));
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

async function inTheExplorer(): Promise<Int32Array> {
  const { plan, controlWords } = scriptPlan(SCRIPT, OPTIONS);
  const layout = layoutPlan(plan, controlWords);
  let words = new Int32Array();
  const report = await explore(
    {
      name: 'script',
      words: layout.arenaWords,
      setup: (memory) => {
        createVm(memory, layout.config);
      },
      threads: plan.threads.map((thread, threadId) => ({
        name: thread.name,
        *run(memory) {
          const counters = new Float64Array(COUNTER_SLOTS);
          const environment = { memory, now: () => 0, needResched: () => false, counters, probe: null };
          const vm = openVm({ layout: layout.vm, threadId, threadName: thread.name, environment });
          yield* runProgram({ plan, thread, vm, control: layout.control, seed: 1, phase: () => {}, tally: () => {} });
        },
      })),
      check: (final) => {
        words = final.slice();
        return null;
      },
    },
    { policy: 'round-robin', executions: 1, depth: 10_000_000, repeatEvery: 0, states: false, shrink: false },
  );
  expect(report.findings).toEqual([]);
  return vmWords(words);
}

describe('a script of one vCPU', () => {
  let threads: EngineScriptRun;
  let image: Int32Array;

  beforeAll(async () => {
    threads = await runOnThreads(SCRIPT, OPTIONS);
    image = vmWords((threads.result.vm.memory as unknown as { words: Int32Array }).words);
  });

  it('comes to its end on worker threads', () => {
    expect(threads.result).toMatchObject({ complete: true, reason: '', exitCode: 0 });
    expect(threads.phases.map(({ words }) => words)).toEqual(SCRIPT.phases.map(({ words }) => words));
    expect(threads.phases[2].results).toContainEqual(expect.stringMatching(/^getlog dirty_count=60 ranges=0x100\+1;0x103\+1;/));
    expect(threads.phases.flatMap(({ events }) => events).length).toBeGreaterThan(2000);
  });

  it('leaves the same VM on the virtual clock, and tells the same', async () => {
    const virtual = await runOnVirtualClock(SCRIPT, OPTIONS, { profile: laptop8, signal: null });
    expect(virtual.result).toMatchObject({ complete: true, reason: '' });
    const { words } = virtual.result.vm.memory as unknown as { words: Int32Array };
    expect(difference(image, vmWords(words))).toBeUndefined();
    expect(plain(told(virtual.phases))).toEqual(plain(told(threads.phases)));
    expect(virtual.vcpus).toEqual(threads.vcpus);
  });

  it('leaves the same VM in the explorer', async () => {
    expect(difference(image, await inTheExplorer())).toBeUndefined();
  });

  it('tells the same in turns of one thread', () => {
    const { phases } = runScript(SCRIPT, { ...RUN_DEFAULTS, kernel: OPTIONS.kernel });
    expect(plain(told(phases))).toEqual(plain(told(threads.phases)));
  });
});

it('an expectation that fails ends the run on threads, too, with what happened until then', async () => {
  const script = parseScript(
    `${TEXT.split('phase the host')[0]}expect mapped gfn=0x800 level=2\nphase never\nzapall\n`,
    'failing.kt',
  );
  const { failure, phases, result } = await runOnThreads(script, OPTIONS);
  expect(failure?.message).toBe('failing.kt:21: expectation failed: gfn 0x800 is mapped at level 1, not 2');
  expect(phases.map(({ words }) => words)).toEqual(['setup', 'the guest works', 'dirty logging']);
  expect(result.complete).toBe(true);
});

it('the worker of 5.18 zaps the roots, beside vCPUs that run', async () => {
  const script = parseScript(
    `vm vcpus=2 kernel=5.18
     mem A size=1M populate=1
     slot 1 gfn=0x100 npages=256 mem=A
     touch vcpu=0 gfn=0x100 n=256 op=w
     phase race
     atouch vcpu=0 gfn=0x100 n=256 op=w
     atouch vcpu=1 gfn=0x100 n=256 op=w
     zapall
     wait
     expect mapped gfn=0x100`,
    'worker.kt',
  );
  const { failure, phases, result } = await runOnThreads(script, { ...OPTIONS, reschedByScript: false }, { perturb: 0.001 });
  expect([failure, result.exitCode, result.reason]).toEqual([null, 0, '']);
  const zaps = phases[1].events.filter((event) => 'run' in event && event.by === 'zap worker');
  expect(zaps.length).toBeGreaterThan(0);
});
