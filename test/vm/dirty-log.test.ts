import { describe, expect, it } from 'vitest';
import { errnoName } from '../../src/vm/errno.ts';
import { clearDirtyLog, getDirtyLog, setMemslotFlags } from '../../src/vm/ioctl.ts';
import type { Backing } from '../../src/vm/vm-config.ts';
import { BASE, dirtyRuns, LOG, VmMachine } from './vm-machine.ts';

interface Setup {
  readonly manualProtect: number;
  readonly eagerPageSplit: number;
  readonly pages?: number;
}

function machineWith(type: Backing, { pages = 2048, ...params }: Setup) {
  const memory = [{ name: 'A', type, pages, populate: true }];
  const machine = new VmMachine({ config: { memory, params } });
  machine.slot(1, BASE, 'A');
  const { ioctl } = machine;
  return {
    machine,
    get: (slot = 1): string => {
      const { result, bitmap } = machine.run(getDirtyLog(ioctl, { slot }));
      return result === 0 ? dirtyRuns(bitmap, BASE) : errnoName(result);
    },
    clear: (firstPage: number, count: number, every = 1, slot = 1): string => {
      const bitmap = new Uint32Array(2 * Math.ceil(count / 64));
      for (let page = 0; page < count; page += every) bitmap[page >>> 5] |= 1 << (page & 31);
      return errnoName(machine.run(clearDirtyLog(ioctl, { slot, firstPage, pages: count, bitmap })));
    },
    flags: (flags: number) => machine.run(setMemslotFlags(ioctl, { slot: 1 }, flags)),
  };
}

/** The script of the recorded 08_dirtylog scenarios, and what GET reported in it. */
function script(type: Backing, setup: Setup): { readonly gets: string[]; readonly clears: string[] } {
  const { machine, get, clear, flags } = machineWith(type, setup);
  const gets: string[] = [];
  const clears: string[] = [];
  machine.write(BASE, 3, 512);
  machine.read(BASE + 0x607);
  flags(LOG);
  machine.write(BASE, 4);
  machine.write(BASE + 0x205);
  machine.read(BASE + 0x10, 2, 512);
  machine.read(BASE + 0x150);
  gets.push(get());
  if (setup.manualProtect !== 0) clears.push(clear(0, 64));
  machine.write(BASE, 2);
  machine.write(BASE + 0x40, 2);
  machine.write(BASE, 2);
  gets.push(get());
  if (setup.manualProtect !== 0) {
    clears.push(clear(64, 128, 3), clear(1, 64), clear(0, 64), clear(0, 2048));
  }
  machine.write(BASE);
  machine.read(BASE + 1);
  machine.write(BASE + 0x300);
  gets.push(get());
  return { gets, clears };
}

describe('the dirty log', () => {
  const clears = ['0', '0', '-EINVAL', '0', '0'];

  it.each([
    ['2m', { manualProtect: 0, eagerPageSplit: 1 }, ['10000+4 10205+1', '10000+2 10040+2', '10000+1 10300+1'], []],
    ['2m', { manualProtect: 0, eagerPageSplit: 0 }, ['10000+4 10205+1', '10000+2 10040+2', '10000+1 10300+1'], []],
    ['2m', { manualProtect: 1, eagerPageSplit: 0 }, ['10000+4 10205+1', '10000+2 10040+2 10205+1', '10000+1 10300+1'], clears],
    ['2m', { manualProtect: 3, eagerPageSplit: 0 }, ['10000+2048', '10000+2 10040+1984', '10000+1 10300+1'], clears],
    ['2m', { manualProtect: 3, eagerPageSplit: 1 }, ['10000+2048', '10000+2 10040+1984', '10000+1 10300+1'], clears],
    ['thp', { manualProtect: 0, eagerPageSplit: 1 }, ['10000+4 10205+1', '10000+2 10040+2', '10000+1 10300+1'], []],
  ] as const)('of %s memory with %o reports what the recorded kernel did', (type, setup, gets, expectedClears) => {
    expect(script(type, setup)).toEqual({ gets, clears: expectedClears });
  });

  it('marks pages that are read for the first time, because they are mapped writable', () => {
    const { machine, get, flags } = machineWith('4k', { manualProtect: 0, eagerPageSplit: 1 });
    flags(LOG);
    machine.read(BASE, 2);
    expect(get()).toBe('10000+2');
    machine.read(BASE, 2);
    expect(get()).toBe('');
  });

  it('is taken with mmu_lock held for write, word by word, and flushed after it', () => {
    const { machine, flags } = machineWith('4k', { manualProtect: 0, eagerPageSplit: 1 });
    flags(LOG);
    machine.write(BASE);
    machine.write(BASE + 65);
    const get = () => getDirtyLog(machine.ioctl, { slot: 1 });
    expect(machine.heard(get())).toEqual([
      'write lock',
      'clear_dirty_pt_masked 10000 1',
      '10000 level 1: e67 -> e65',
      'clear_dirty_pt_masked 10040 2',
      '10041 level 1: e67 -> e65',
      'write unlock',
      'flush_all',
    ]);
    expect(machine.heard(get())).toEqual(['write lock', 'write unlock']);
  });

  it('is only copied with manual protection', () => {
    const { machine, get, flags } = machineWith('4k', { manualProtect: 1, eagerPageSplit: 1 });
    flags(LOG);
    machine.write(BASE);
    expect(machine.heard(getDirtyLog(machine.ioctl, { slot: 1 }))).toEqual([]);
    expect([get(), get()]).toEqual(['10000+1', '10000+1']);
  });

  it('is cleared only where it is set: words without such bits are passed over', () => {
    const { machine, flags } = machineWith('2m', { manualProtect: 3, eagerPageSplit: 0 });
    machine.write(BASE, 4, 512);
    flags(LOG);
    const bitmap = new Uint32Array(2).fill(-1);
    const clear = () => clearDirtyLog(machine.ioctl, { slot: 1, firstPage: 0, pages: 64, bitmap });
    expect(machine.heard(clear())).toEqual([
      'write lock',
      'write_protect_gfn 10000 2',
      '10000 level 2: ee7 -> ae5',
      'write_protect_gfn 1003f 2',
      'clear_dirty_pt_masked 10000 ffffffffffffffff',
      'write unlock',
      'flush_all',
    ]);
    expect(machine.heard(clear())).toEqual(['write lock', 'write unlock']);
  });

  it.each([
    ['a first page that is no multiple of 64', 1, 64, '-EINVAL'],
    ['an end inside the slot that is no multiple of 64', 0, 65, '-EINVAL'],
    ['pages beyond the slot', 64, 2048, '-EINVAL'],
    ['a first page beyond the slot', 2112, 0, '-EINVAL'],
    ['the odd rest of the slot', 2048, 10, '0'],
    ['no pages', 0, 0, '0'],
  ])('answers a CLEAR of %s with an errno', (_what, first, count, result) => {
    const { clear, flags } = machineWith('4k', { manualProtect: 1, eagerPageSplit: 1, pages: 2058 });
    flags(LOG);
    expect(clear(first, count)).toBe(result);
  });

  it('has bits for the pages of the slot and no more in initially-set mode', () => {
    const { get, clear, flags } = machineWith('4k', { manualProtect: 3, eagerPageSplit: 1, pages: 100 });
    flags(LOG);
    expect(get()).toBe('10000+100');
    expect(clear(64, 36)).toBe('0');
    expect(get()).toBe('10000+64');
  });

  it('is not there for a slot that does not log, does not exist, or cannot', () => {
    const { get, clear, machine } = machineWith('4k', { manualProtect: 1, eagerPageSplit: 1 });
    expect([get(1), get(2), get(99), clear(0, 64, 1, 2)]).toEqual(['-ENOENT', '-ENOENT', '-EINVAL', '-ENOENT']);
    expect(machine.ioctl.thread.holdsNothing()).toBe(true);
  });
});
