import { describe, expect, it } from 'vitest';
import { executionOf, hunt } from '../../src/bugs/hunt.ts';
import { huntAll } from '../../src/bugs/hunt-all.ts';
import { BUGS, EXPRESSIBLE, findBug, switchesOf } from '../../src/bugs/index.ts';
import { Sampler } from '../../src/engines/explore/sampler.ts';
import { Replay } from '../../src/engines/explore/schedulers/replay.ts';
import { parseToken } from '../../src/engines/explore/token.ts';
import { loadAllScenarios, loadScenario } from '../../src/scenarios/library.ts';
import { sourcesUnder } from '../structure/sources.ts';

describe('the catalogue', () => {
  it('has every bug once, with a reason where the model cannot have it', () => {
    expect(BUGS.length).toBe(74);
    expect(new Set(BUGS.map(({ id }) => id)).size).toBe(BUGS.length);
    expect(BUGS.filter((bug) => bug.tier === 'core' && bug.notExpressible === undefined).length).toBeGreaterThanOrEqual(38);
    for (const bug of BUGS) expect(bug.interleaving.length, bug.id).toBeGreaterThan(0);
  });

  it('names the switches of the sources, and no others', () => {
    const folders = ['src/machine', 'src/mmu', 'src/vm'];
    const texts = folders.flatMap((folder) => sourcesUnder(folder)).map(({ text }) => text);
    const switches = new Set(texts.flatMap((text) => [...text.matchAll(/bugs\['([a-z0-9-]+)'\]/g)].map(([, id]) => id)));
    const missing = EXPRESSIBLE.filter(({ id }) => !switches.has(id)).map(({ id }) => id);
    expect(missing).toEqual([]);
  });
});

describe('hunting', () => {
  const scenarios = loadAllScenarios();

  it.each([
    'install-over-frozen',
    'pt-freed-without-rcu',
    'frozen-during-recursive-free',
    'notifier-retry-not-range-aware',
    'tdp-iter-no-forward-progress',
    'duplicate-root-alloc-under-read-lock',
    'removed-pt-flush-wrong-range',
  ])('finds %s, and replays it', async (id) => {
    const bugs = switchesOf(findBug(id)!);
    const { caught } = await hunt(scenarios, bugs, { policy: 'pct', seconds: 45 });
    expect(caught).not.toBeNull();
    const { schedule, seed } = parseToken(caught!.token);
    const replayed = new Sampler(executionOf(loadScenario(caught!.scenario), bugs), new Replay(schedule, seed));
    replayed.run();
    expect(replayed.finding?.rule).toBe(caught!.rule);
    // The very schedule breaks nothing where the bug is not.
    const healthy = new Sampler(executionOf(loadScenario(caught!.scenario), {}), new Replay(schedule, seed));
    healthy.run();
    expect(healthy.finding).toBeNull();
  });

  it('tells what it did where there is nothing to find', async () => {
    const result = await hunt(scenarios.slice(0, 2), {}, { policy: 'random', seconds: 0.3 });
    expect(result.caught).toBeNull();
    expect(result.executions).toBeGreaterThan(0);
  });
});

describe('hunting many', () => {
  const bugs = ['root-freed-on-every-unload', 'frozen-during-recursive-free'].map((id) => findBug(id)!);
  const options = { policies: ['pct', 'random'] as const, seconds: 60, signal: new AbortController().signal };

  it('finds the same in worker threads as here, in the order that was asked for', async () => {
    const found: string[] = [];
    const pooled = await huntAll(bugs, { ...options, jobs: 2, onDone: ({ id }) => found.push(id) });
    expect(pooled.map(({ id }) => id)).toEqual(bugs.map(({ id }) => id));
    expect(found.toSorted()).toEqual(bugs.map(({ id }) => id).toSorted());
    for (const { results } of pooled) {
      expect(results.map(({ policy, caught }) => [policy, caught !== null])).toEqual([
        ['pct', true],
        ['random', true],
      ]);
    }
    const [here] = await huntAll([bugs[1]], { ...options, policies: ['pct'], jobs: 1, onDone() {} });
    expect(here.results[0].caught?.token).toBe(pooled[1].results[0].caught?.token);
  });

  it('leaves out what a signal ended', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const hunts = await huntAll(bugs, { ...options, policies: ['pct'], signal, jobs: 1, onDone: () => controller.abort() });
    expect(hunts.map(({ id }) => id)).toEqual([bugs[0].id]);
    expect(await huntAll(bugs, { ...options, signal, jobs: 2, onDone() {} })).toEqual([]);
    const second = new AbortController();
    const pooled = huntAll(bugs, { ...options, signal: second.signal, jobs: 2, onDone() {} });
    second.abort();
    expect(await pooled).toEqual([]);
  });
});
