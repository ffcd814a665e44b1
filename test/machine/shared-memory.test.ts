import { describe, expect, it } from 'vitest';
import type { Memory } from '../../src/machine/memory.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { type Address, own } from '../../src/machine/point.ts';
import { createArena } from '../../src/machine/shared-arena.ts';
import { SharedMemory } from '../../src/machine/shared-memory.ts';
import { WasmMemory } from '../../src/machine/wasm-memory.ts';
import { equal64, Word64 } from '../../src/machine/word64.ts';

const WORDS = 16_384;

/** One random operation; returns what it returned, in a form that can be compared. */
function operate(memory: Memory, random: (n: number) => number): unknown {
  const small = (): number => [0, 1, -1, 0x8000_0000 | 0, 0x7fff_ffff][random(5)];
  const word = (): Word64 => new Word64(small(), small());
  const a = own(random(32) as Address);
  const even = own((random(16) * 2) as Address);
  const operations: (() => unknown)[] = [
    () => memory.load32(a),
    () => memory.store32(a, small()),
    () => memory.cmpxchg32(a, small(), small()),
    () => memory.xchg32(a, small()),
    () => memory.add32(a, small()),
    () => memory.and32(a, small()),
    () => memory.or32(a, small()),
    () => memory.load64(even),
    () => memory.store64(even, word()),
    () => {
      const expected = word();
      const seen = memory.cmpxchg64(even, expected, word());
      // The contract tells success by identity.
      return [seen === expected, seen];
    },
    () => memory.xchg64(even, word()),
    () => memory.and64(even, word()),
    () => memory.fill64(even, word(), random(4)),
    () => memory.fill32(a, small(), random(4)),
  ];
  return operations[random(operations.length)]();
}

function generator(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % n;
  };
}

describe.each([
  ['SharedMemory', () => new SharedMemory(new Int32Array(new SharedArrayBuffer(4 * WORDS)))],
  ['WasmMemory', () => new WasmMemory(createArena(WORDS).wasm!)],
])('%s', (_name, make) => {
  it('does what PlainMemory does, operation by operation', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const plain = new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * WORDS)));
      const memory = make();
      const [a, b] = [generator(seed), generator(seed)];
      for (let i = 0; i < 1000; i++) expect(operate(memory, a)).toEqual(operate(plain, b));
      expect(memory.words.subarray(0, 64)).toEqual(plain.words.subarray(0, 64));
    }
  });

  it('tells a lost exchange from a won one when the value seen equals no operand', () => {
    const memory = make();
    const at = own(8 as Address);
    memory.store64(at, new Word64(-1, 5));
    const expected = new Word64(-1, 6);
    const seen = memory.cmpxchg64(at, expected, new Word64(0, 0));
    expect(seen).not.toBe(expected);
    expect(equal64(seen, new Word64(-1, 5))).toBe(true);
    const right = new Word64(-1, 5);
    expect(memory.cmpxchg64(at, right, new Word64(3, 4))).toBe(right);
    expect(equal64(memory.load64(at), new Word64(3, 4))).toBe(true);
  });
});

describe('an arena', () => {
  it('is shared, empty, and large enough', () => {
    const { buffer, words, wasm } = createArena(20_000);
    expect(buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(words.length).toBeGreaterThanOrEqual(20_000);
    expect(words.every((word) => word === 0)).toBe(true);
    expect(wasm?.buffer).toBe(buffer);
  });
});
