import { describe, expect, test } from 'vitest';
import { programOf } from './programs.ts';
import { exploreAll, exploreShared, randomProgram } from './random-programs.ts';

const PROGRAMS = 80;

/** Mixes of operations, so that each kind of step meets each other one. */
const MIXES = [
  ['read', 'write', 'cmpxchg', 'add'],
  ['read', 'write', 'cmpxchg', 'acquire', 'wait'],
  ['read', 'write', 'count', 'wait', 'acquire'],
  ['write', 'count', 'wait'],
  ['read', 'write', 'add', 'spin', 'guarded'],
  ['read', 'write', 'count', 'spin'],
  ['share', 'acquire-clear', 'write', 'bias', 'read'],
] as const;

/** With steps that wait and learn nothing, each trace of the others may be explored more than once. */
const UNTIL_MIXES = [
  ['read', 'write', 'until', 'until-not'],
  ['read', 'section', 'until', 'section'],
  ['count', 'write', 'until-not', 'until', 'add'],
  ['share', 'acquire-clear', 'write', 'bias', 'until', 'read'],
  ['section', 'until', 'cmpxchg', 'spin'],
] as const;

describe('reductions explore the traces of random programs, and optimal ones each once', () => {
  test.each(MIXES.map((m) => [m.join(' '), m] as const))('%s', (_, mix) => {
    let compared = 0;
    for (let seed = 1; seed <= PROGRAMS; seed++) {
      const program = randomProgram(seed, mix);
      const all = exploreAll(program, 'none', 'sc');
      if (all === null) continue;
      compared++;
      const optimal = exploreAll(program, 'optimal', 'sc');
      expect([...(optimal?.traces.keys() ?? [])].sort(), program.name).toEqual([...all.traces.keys()].sort());
      expect(Math.max(...(optimal?.traces.values() ?? [])), program.name).toBe(1);
      expect(optimal?.blocked, program.name).toBe(0);
      expect(optimal?.states, program.name).toEqual(all.states);
      const source = exploreAll(program, 'source', 'sc');
      expect([...(source?.traces.keys() ?? [])].sort(), program.name).toEqual([...all.traces.keys()].sort());
    }
    expect(compared).toBeGreaterThan(PROGRAMS / 2);
  });
});

describe('what only waits may be taken at once, and nothing is lost', () => {
  test.each(UNTIL_MIXES.map((m) => [m.join(' '), m] as const))('%s', (_, mix) => {
    let compared = 0;
    for (let seed = 1; seed <= PROGRAMS; seed++) {
      const program = randomProgram(seed, mix);
      const all = exploreAll(program, 'none', 'sc', 2000);
      if (all === null || all.waitsForEver) continue;
      compared++;
      const optimal = exploreAll(program, 'optimal', 'sc');
      expect([...(optimal?.traces.keys() ?? [])].sort(), program.name).toEqual([...all.traces.keys()].sort());
      expect(optimal?.states, program.name).toEqual(all.states);
      const source = exploreAll(program, 'source', 'sc');
      expect([...(source?.traces.keys() ?? [])].sort(), program.name).toEqual([...all.traces.keys()].sort());
      for (const turns of [1, 2]) {
        const shared = exploreShared(program, 'optimal', seed * 10 + turns);
        expect([...shared.traces.keys()].sort(), program.name).toEqual([...all.traces.keys()].sort());
      }
    }
    expect(compared).toBeGreaterThan(PROGRAMS / 4);
  });
});

describe('with store buffers too', () => {
  test.each([
    ['read', 'write', 'fence'],
    ['read', 'write', 'cmpxchg', 'fence', 'count', 'spin'],
    ['read', 'write', 'wait', 'acquire'],
  ] as const)('%s %s %s %s %s %s', (...mix) => {
    let compared = 0;
    for (let seed = 1; seed <= PROGRAMS; seed++) {
      const program = randomProgram(
        seed,
        mix.filter((op) => op !== undefined),
      );
      const all = exploreAll(program, 'none', 'tso');
      if (all === null) continue;
      compared++;
      const optimal = exploreAll(program, 'optimal', 'tso');
      expect(optimal?.traces.size, program.name).toBe(all.traces.size);
      expect(optimal?.blocked, program.name).toBe(0);
      expect(optimal?.states, program.name).toEqual(all.states);
    }
    expect(compared).toBeGreaterThan(PROGRAMS / 3);
  });
});

describe('searchers that share the tree explore each trace once, whoever goes when', () => {
  test.each(['optimal', 'source', 'none'] as const)('%s', (reduction) => {
    for (let seed = 1; seed <= PROGRAMS; seed++) {
      const program = randomProgram(seed, MIXES[seed % MIXES.length]);
      const alone = exploreAll(program, reduction, 'sc', 3000);
      if (alone === null) continue;
      for (const turns of [1, 2, 3]) {
        const shared = exploreShared(program, reduction, seed * 10 + turns);
        expect([...shared.traces].sort(), program.name).toEqual([...alone.traces].sort());
        expect(shared.states, program.name).toEqual(alone.states);
      }
    }
  });

  test.each(['lastzero(5)', 'zap(2,1)', 'cas(2,3)', 'rww(2,2)', 'readers(5)'])('%s', (name) => {
    const alone = exploreAll(programOf(name), 'optimal', 'sc');
    for (let seed = 1; seed <= 10; seed++) {
      const shared = exploreShared(programOf(name), 'optimal', seed);
      expect([...shared.traces].sort()).toEqual([...(alone?.traces ?? [])].sort());
    }
  });
});
