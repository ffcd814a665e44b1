/** Scenarios that are small enough to be explored to the end: nothing that other searches come to is missing. */
import { describe, expect, it } from 'vitest';
import { ROOT_ITEM } from '../../src/engines/explore/dpor/tree-search.ts';
import { completeOptions, type ExploreOptions } from '../../src/engines/explore/options.ts';
import { ExhaustiveRunner, SamplingRunner } from '../../src/engines/explore/runner.ts';
import { loadScenario } from '../../src/scenarios/library.ts';
import { VmProgram } from '../../src/scenarios/vm-program.ts';

const SMALL = [
  'aged-write-tracked-page',
  'eager-split-without-memory',
  'fault-against-fault-two-sizes',
  'fault-against-zap-range',
  'write-against-clear-log',
  'write-against-clear-log-unsplit',
];

/** Those whose interleavings of one preemption are few. */
const FEW = ['fault-against-fault-two-sizes', 'fault-against-zap-range', 'write-against-clear-log'];

/** The final states that an exhaustive search comes to. */
function exhaust(name: string, asked: Partial<ExploreOptions>): Set<unknown> {
  const runner = new ExhaustiveRunner(new VmProgram(loadScenario(name)), completeOptions(asked));
  runner.load(ROOT_ITEM);
  do runner.run();
  while (runner.search.advance());
  expect([...runner.tally.failures.keys()]).toEqual([]);
  expect(runner.tally).toMatchObject({ blocked: 0, cutByDepth: 0, approximate: false });
  return runner.tally.states;
}

/** Those that a policy comes to. */
function sample(name: string, asked: Partial<ExploreOptions>): Set<unknown> {
  const runner = new SamplingRunner(new VmProgram(loadScenario(name)), completeOptions({ executions: 1, ...asked }));
  runner.load(0, 60);
  while (runner.run());
  return runner.tally.states;
}

describe.each(SMALL)('%s: an optimal search', (name) => {
  const all = exhaust(name, {});

  it('comes to every state that sampling comes to', () => {
    expect(all.size).toBeGreaterThan(1);
    for (const policy of ['random', 'pct', 'partial-order'] as const) {
      expect([...sample(name, { policy })].filter((state) => !all.has(state))).toEqual([]);
    }
  });

  it.runIf(FEW.includes(name))('comes to every state that is reached without reduction by one preemption', () => {
    expect([...exhaust(name, { preemptions: 1 })].filter((state) => !all.has(state))).toEqual([]);
  });
});

describe('with store buffers', () => {
  it.each(['write-against-get-log', 'fault-against-zap-range'])('%s holds', (name) => {
    const runner = new SamplingRunner(
      new VmProgram(loadScenario(name)),
      completeOptions({ policy: 'random', memory: 'tso', executions: 1 }),
    );
    runner.load(0, 100);
    while (runner.run());
    expect([...runner.tally.failures.values()]).toEqual([]);
    expect(runner.tally.executions).toBe(100);
  });
});
