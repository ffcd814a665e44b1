import { describe, expect, it } from 'vitest';
import { own } from '../../src/machine/point.ts';
import { heapAlloc, heapFree } from '../../src/vm/heap.ts';
import { VmMachine } from './vm-machine.ts';

const machineWithHeap = (heapWords: number) => {
  const machine = new VmMachine({ config: { heapWords } });
  const { thread, space } = machine.ioctl;
  const { heap } = space;
  return {
    machine,
    heap,
    alloc: (words: number) => machine.run(heapAlloc(heap, thread, words)),
    free: (block: number, words: number) => machine.run(heapFree(heap, thread, block as never, words)),
  };
};

describe('the heap', () => {
  it('hands out zeros in whole cache lines, apart from each other', () => {
    const { machine, heap, alloc } = machineWithHeap(256);
    const [a, b] = [alloc(5), alloc(33)];
    expect([a % 16, b - a]).toEqual([0, 16]);
    expect(heap.usedWords()).toBe(64);
    expect([...machine.memory.words.slice(a, b + 48)].every((word) => word === 0)).toBe(true);
  });

  it('reuses a block of the same size, cleared', () => {
    const { machine, alloc, free } = machineWithHeap(256);
    const a = alloc(40);
    machine.memory.fill32(own(a), 7, 40);
    alloc(16);
    free(a, 40);
    expect(machine.memory.words[a + 9]).not.toBe(7);
    expect(alloc(48)).toBe(a);
    expect([...machine.memory.words.slice(a, a + 48)].every((word) => word === 0)).toBe(true);
  });

  it('cuts a larger block when fresh memory is used up, and then has no more', () => {
    const { alloc, free, heap } = machineWithHeap(64);
    const a = alloc(48);
    alloc(16);
    expect(alloc(16)).toBe(0);
    free(a, 48);
    expect([alloc(16), alloc(16), alloc(16), alloc(1)]).toEqual([a, a + 16, a + 32, 0]);
    expect(heap.usedWords()).toBe(64);
  });

  it('notices a write to a freed block when it hands it out again', () => {
    const { machine, alloc, free } = machineWithHeap(64);
    const a = alloc(16);
    free(a, 16);
    machine.memory.store32(own((a + 11) as never), 1);
    expect(() => alloc(16)).toThrow(expect.objectContaining({ rule: 'use-after-free' }));
  });

  it('notices a block freed twice, and what is no block', () => {
    const { alloc, free } = machineWithHeap(64);
    const a = alloc(16);
    free(a, 16);
    expect(() => free(a, 16)).toThrow(expect.objectContaining({ rule: 'double-free' }));
    expect(() => free(a + 3, 16)).toThrow(expect.objectContaining({ rule: 'heap-free' }));
  });
});
