import { describe, expect, it } from 'vitest';
import { ArenaLayout } from '../../src/machine/arena.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { type Address, own, type Task } from '../../src/machine/point.ts';
import { runToEnd, seededPick } from '../../src/machine/run.ts';
import { Rmaps } from '../../src/shadow/rmap.ts';
import { ShadowLayout, ShadowWord } from '../../src/shadow/shadow-layout.ts';

function make(descriptors: number): {
  rmaps: Rmaps;
  heads: readonly Address[];
  run: <T>(t: Task<T>) => T;
  load: (a: number) => number;
} {
  const arena = new ArenaLayout();
  const layout = new ShadowLayout(arena, descriptors, 16);
  const base = arena.reserve('heads', 8);
  const memory = new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * arena.words)));
  return {
    rmaps: new Rmaps(memory, layout),
    heads: [0, 2, 4].map((i) => (base + i) as Address),
    run: (task) => runToEnd(memory, task),
    load: (a) => memory.load32(own(a as Address)),
  };
}

const spte = (n: number): Address => (1000 + 2 * n) as Address;
const used = (m: ReturnType<typeof make>): number => m.load(m.rmaps.layout.word(ShadowWord.descUsed));

describe('reverse maps', () => {
  it('keep one SPTE in the head itself, and more in descriptors of three, from the front', () => {
    const m = make(4);
    const [head] = m.heads;
    m.run(m.rmaps.add(head, spte(1)));
    expect(m.load(head)).toBe(spte(1));
    for (const n of [2, 3, 4]) m.run(m.rmaps.add(head, spte(n)));
    expect(m.load(head)).toBe((1 << 1) | 1);
    expect([0, 1, 2, 3].map((i) => m.load(m.rmaps.layout.descriptor(1) + i))).toEqual([spte(1), spte(2), spte(3), 2]);
    expect([0, 1, 2, 3].map((i) => m.load(m.rmaps.layout.descriptor(2) + i))).toEqual([spte(4), 0, 0, 0]);
    expect(m.run(m.rmaps.list(head))).toEqual([1, 2, 3, 4].map(spte));
  });

  it('fill the hole of what is removed, and free a descriptor with its last entry', () => {
    const m = make(4);
    const [head] = m.heads;
    for (const n of [1, 2, 3, 4, 5]) m.run(m.rmaps.add(head, spte(n)));
    m.run(m.rmaps.remove(head, spte(1)));
    expect(m.run(m.rmaps.list(head))).toEqual([3, 2, 4, 5].map(spte));
    // The first of the chain goes: the head leads to the second.
    for (const n of [2, 3]) m.run(m.rmaps.remove(head, spte(n)));
    expect(m.load(head)).toBe((2 << 1) | 1);
    expect(used(m)).toBe(1);
    // The last of a chain goes: the one before it ends the chain.
    for (const n of [6, 7, 8]) m.run(m.rmaps.add(head, spte(n)));
    expect(used(m)).toBe(2);
    for (const n of [7, 8]) m.run(m.rmaps.remove(head, spte(n)));
    expect(m.run(m.rmaps.list(head))).toEqual([4, 5, 6].map(spte));
    for (const n of [5, 4, 6]) m.run(m.rmaps.remove(head, spte(n)));
    expect(m.load(head)).toBe(0);
    expect(used(m)).toBe(0);
  });

  it('hold what sets of the same SPTEs would, whatever is added and removed, with no more descriptors than needed', () => {
    const m = make(200);
    const pick = seededPick(7);
    const choose = (n: number): number => pick(Array.from({ length: n }, (_, i) => i));
    const sets = m.heads.map(() => new Set<Address>());
    for (let step = 0; step < 3000; step++) {
      const which = choose(m.heads.length);
      const set = sets[which];
      const grow = set.size < 40 && choose(5) < (step < 2000 ? 3 : 1);
      if (grow || set.size === 0) {
        const sptep = spte(step);
        set.add(sptep);
        m.run(m.rmaps.add(m.heads[which], sptep));
      } else {
        const sptep = [...set][choose(set.size)];
        set.delete(sptep);
        m.run(m.rmaps.remove(m.heads[which], sptep));
      }
      const listed = m.run(m.rmaps.list(m.heads[which]));
      expect(listed.length).toBe(set.size);
      expect(new Set(listed)).toEqual(set);
    }
    for (const [i, set] of sets.entries()) for (const sptep of set) m.run(m.rmaps.remove(m.heads[i], sptep));
    expect(m.heads.map((head) => m.load(head))).toEqual([0, 0, 0]);
    expect(used(m)).toBe(0);
  });

  it('refuse to remove what they do not hold, and say when descriptors run out', () => {
    const m = make(1);
    const [head, other] = m.heads;
    const missing = expect.objectContaining({ rule: 'rmap-missing' });
    expect(() => m.run(m.rmaps.remove(head, spte(1)))).toThrow(missing);
    for (const n of [1, 2]) m.run(m.rmaps.add(head, spte(n)));
    expect(() => m.run(m.rmaps.remove(head, spte(3)))).toThrow(missing);
    m.run(m.rmaps.add(other, spte(4)));
    expect(() => m.run(m.rmaps.add(other, spte(5)))).toThrow(expect.objectContaining({ rule: 'pte-list-exhausted' }));
  });
});
