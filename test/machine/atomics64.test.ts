import { describe, expect, it } from 'vitest';
import bytes from '../../src/machine/atomics64.wat';

type Operation = (at: number, ...operands: number[]) => number;

/** The operations over a memory of their own, and the memory's words. */
function instance(): { words: Int32Array; call: Record<string, Operation>; seen: () => number[] } {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  const call = exports as Record<string, Operation>;
  return { words: new Int32Array(memory.buffer), call, seen: () => [call.seenLo(0), call.seenHi(0)] };
}

describe('64-bit words', () => {
  it('exchanges what holds the expected value, both halves', () => {
    const { words, call, seen } = instance();
    words.set([-1, 7], 2);
    expect(call.cas64(8, -1, 7, 0x7fffffff, -2147483648)).toBe(1);
    expect([...words.subarray(0, 6)]).toEqual([0, 0, 0x7fffffff, -2147483648, 0, 0]);
    expect(seen()).toEqual([-1, 7]);
  });

  it.each([
    ['low', -2, 7],
    ['high', -1, 8],
  ])('leaves a word alone whose %s half differs, and tells what it saw', (_half, lo, hi) => {
    const { words, call, seen } = instance();
    words.set([-1, 7], 2);
    expect(call.cas64(8, lo, hi, 1, 1)).toBe(0);
    expect([...words.subarray(2, 4)]).toEqual([-1, 7]);
    expect(seen()).toEqual([-1, 7]);
  });

  it.each([
    ['xchg64', [0x0f, -1]],
    ['and64', [0x0c, 5]],
    ['or64', [-1, -1]],
  ])('%s returns the low half and keeps both', (name, after) => {
    const { words, call, seen } = instance();
    words.set([~0x03, 5], 2);
    expect(call[name](8, 0x0f, -1)).toBe(~0x03);
    expect([...words.subarray(2, 4)]).toEqual(after);
    expect(seen()).toEqual([~0x03, 5]);
  });

  it('loads and stores', () => {
    const { words, call, seen } = instance();
    call.store64(16, -3, 4);
    expect([...words.subarray(4, 6)]).toEqual([-3, 4]);
    expect(call.load64(16)).toBe(-3);
    expect(seen()).toEqual([-3, 4]);
  });
});

describe('32-bit words', () => {
  it.each([
    ['xchg32', [9], 9],
    ['add32', [-13], -1],
    ['and32', [4], 4],
    ['or32', [3], 15],
    ['cas32', [12, 1], 1],
    ['cas32', [13, 1], 12],
  ])('%s(%j) returns the old value', (name, operands, after) => {
    const { words, call } = instance();
    words[1] = 12;
    expect(call[name](4, ...operands)).toBe(12);
    expect(words[1]).toBe(after);
  });

  it('loads and stores', () => {
    const { words, call } = instance();
    call.store32(4, -7);
    expect(words[1]).toBe(-7);
    expect(call.load32(4)).toBe(-7);
  });
});
