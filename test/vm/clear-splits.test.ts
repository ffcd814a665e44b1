import { describe, expect, it } from 'vitest';
import type { KernelName } from '../../src/mmu/generation.ts';
import { isLargeSpte, isWritable } from '../../src/mmu/spte.ts';
import { clearDirtyLog, setMemslotFlags } from '../../src/vm/ioctl.ts';
import { BASE, LOG, spteAt, VmMachine } from './vm-machine.ts';

/** Three 2M pages that log in initially-set mode: nothing is protected before CLEAR names it. */
function machineWith(params: Record<string, number>, kernel: KernelName = '6.12') {
  const memory = [{ name: 'A', type: '2m' as const, pages: 1536, populate: true }];
  const machine = new VmMachine({ config: { kernel, memory, params: { manualProtect: 3, ...params } } });
  machine.slot(1, BASE, 'A');
  machine.write(BASE, 3, 512);
  machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
  const huge = () => [0, 512, 1024].map((page) => isLargeSpte(spteAt(machine, BASE + page)));
  const clear = (firstPage: number, ...pages: number[]) => {
    const bitmap = new Uint32Array(2);
    for (const page of pages) bitmap[page >>> 5] |= 1 << (page & 31);
    return clearDirtyLog(machine.ioctl, { slot: 1, firstPage, pages: 64, bitmap });
  };
  return { machine, huge, clear };
}

describe('CLEAR in initially-set mode', () => {
  it('splits the huge page that holds what it names, under the write lock, and protects that page only', () => {
    const { machine, huge, clear } = machineWith({ eagerPageSplit: 1 });
    expect(huge()).toEqual([true, true, true]);
    const heard = machine.heard(clear(512, 3));
    // The splitter drops the lock to allocate, and takes it in the mode in which it had it.
    expect(heard.filter((line) => line.endsWith('lock'))).toEqual(['write lock', 'write unlock', 'write lock', 'write unlock']);
    expect(huge()).toEqual([true, false, true]);
    const writable = [0, 512, 514, 515].map((page) => isWritable(spteAt(machine, BASE + page)));
    expect(writable).toEqual([true, true, true, false]);
  });

  it('does not flush for the split: only for what it protects', () => {
    const { machine, clear } = machineWith({ eagerPageSplit: 1 });
    expect(machine.heard(clear(512, 3)).filter((line) => line === 'flush_all')).toEqual(['flush_all']);
    expect(machine.heard(clear(512, 3)).filter((line) => line === 'flush_all')).toEqual([]);
  });

  it('protects the huge page as a whole where pages are not split eagerly', () => {
    const { machine, huge, clear } = machineWith({ eagerPageSplit: 0 });
    machine.run(clear(512, 3));
    expect(huge()).toEqual([true, true, true]);
    expect(isWritable(spteAt(machine, BASE + 512))).toBe(false);
    machine.write(BASE + 514);
    expect(huge()).toEqual([true, false, true]);
  });

  it.each([
    ['6.1', true],
    ['6.12', false],
  ] as const)('overlooked a range of one page until 6.7 (%s: the page stays huge: %s)', (kernel, stays) => {
    const { machine, huge, clear } = machineWith({ eagerPageSplit: 1 }, kernel);
    machine.run(clear(0, 0));
    expect(huge()).toEqual([stays, true, true]);
  });
});
