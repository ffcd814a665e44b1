import { describe, expect, it } from 'vitest';
import { executionOf, hunt } from '../../src/bugs/hunt.ts';
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
