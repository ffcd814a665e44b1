import { describe, expect, test } from 'vitest';
import { Execution, Exhaustive, explore, Sampler } from '../../../src/explore.ts';
import data from '../../data/dpor.json' with { type: 'json' };
import { programOf } from './programs.ts';

/** Left to the benchmark, and to the test of checkpoints. */
const LONG = ['lastzero(15)'];
const traces = Object.entries(data.traces).filter(([name]) => !LONG.includes(name));

describe('optimal reduction explores each trace once', () => {
  test.each(traces)('%s: %i traces', async (name, count) => {
    const report = await explore(programOf(name));
    expect(report).toMatchObject({ executions: count, blocked: 0, deadlocks: 0, complete: true, stopped: 'end', findings: [] });
  });
});

describe('source sets explore each trace once, and give up some executions', () => {
  test.each(Object.entries(data.sourceSetBlocked).filter(([name]) => !LONG.includes(name)))('%s', async (name, blocked) => {
    const report = await explore(programOf(name), { reduction: 'source' });
    expect(report).toMatchObject({ executions: (data.traces as Record<string, number>)[name], complete: true });
    // The number depends on the order of scheduling; these come out as the ones of the peers.
    if (name.startsWith('lastzero')) expect(report.blocked).toBe(blocked);
    else expect(report.blocked).toBeLessThanOrEqual(blocked);
  });
});

describe('without reduction every interleaving is tried', () => {
  test.each(Object.entries(data.interleavings))('%s: %i interleavings', async (name, count) => {
    const report = await explore(programOf(name), { reduction: 'none' });
    expect(report).toMatchObject({ executions: count, complete: true });
  });
});

describe('the final states are the same with and without reduction', () => {
  test.each(Object.entries(data.finalStates))('%s: %i states', async (name, count) => {
    for (const reduction of ['optimal', 'source', 'none'] as const) {
      const report = await explore(programOf(name), { reduction });
      expect(report.states).toBe(count);
    }
  });
});

describe('bounds', () => {
  test('a bound that was reached is told, and the search is not complete', async () => {
    const preemptions = await explore(programOf('cas(3,1)'), { preemptions: 1 });
    expect(preemptions.complete).toBe(false);
    expect(preemptions.cut.preemptions).toBeGreaterThan(0);
    const depth = await explore(programOf('cas(3,1)'), { depth: 8 });
    expect(depth.complete).toBe(false);
    expect(depth.cut.depth).toBeGreaterThan(0);
  });

  test('without reduction, bounds of preemptions count exactly the interleavings that keep to them', async () => {
    // Two threads of one store and one load each: 2 run to completion, 4 are preempted once, 2 of 6 orders of 4 steps twice.
    const counts: number[] = [];
    for (const preemptions of [0, 1, 2, 3]) {
      const report = await explore(programOf('lastzero(2)'), { reduction: 'none', preemptions });
      counts.push(report.executions);
      if (report.cut.preemptions === 0) expect(report.complete).toBe(true);
    }
    expect(counts[0]).toBe(6);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    const all = await explore(programOf('lastzero(2)'), { reduction: 'none' });
    expect(counts.at(-1)).toBeLessThanOrEqual(all.executions);
  });

  test('a bound that is not reached leaves the search complete', async () => {
    const report = await explore(programOf('cas(2,2)'), { reduction: 'optimal', preemptions: 100, depth: 100 });
    expect(report).toMatchObject({ executions: 46, complete: true, completeWithinBound: true });
  });

  test.each(['cas(3,1)', 'zap(2,1)', 'lastzero(3)', 'rww(2,1)'])('%s: all interleavings within the bound', async (name) => {
    for (const preemptions of [0, 1, 2]) {
      const sampler = new Sampler(new Execution(programOf(name)), new Exhaustive(preemptions));
      const states = new Set<number>();
      let executions = 0;
      for (; sampler.run() !== null; executions++) states.add(sampler.execution.memory.hash());
      const report = await explore(programOf(name), { preemptions });
      expect(report).toMatchObject({ executions, states: states.size, complete: false, completeWithinBound: true });
      // What a reduction runs of them says nothing about the others.
      const reduced = await explore(programOf(name), { preemptions, reduction: 'optimal' });
      expect(reduced).toMatchObject({ complete: false, completeWithinBound: false });
    }
  });
});
