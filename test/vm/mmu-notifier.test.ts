import { describe, expect, it } from 'vitest';
import { asGfn } from '../../src/mmu/level.ts';
import { guestAccess } from '../../src/vm/guest.ts';
import { hostAge, hostDontneed } from '../../src/vm/host-operations.ts';
import { hostMadvise, hostMprotect, hostMunmap } from '../../src/vm/host-vma.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { GuestResult } from '../../src/vm/vcpu.ts';
import type { Backing } from '../../src/vm/vm-config.ts';
import { VmCounter } from '../../src/vm/vm-counters.ts';
import { BASE, VmMachine, type VmMachineOptions } from './vm-machine.ts';

function machineWith(type: Backing, populate: boolean, options: VmMachineOptions = {}) {
  const memory = [{ name: 'A', type, pages: 1024, populate }];
  const machine = new VmMachine({ ...options, config: { memory, trackContents: true, ...options.config } });
  machine.slot(1, BASE, 'A');
  return { machine, vm: machine.ioctl, region: machine.ioctl.region('A') };
}

const END = ['write lock', 'invalidate_end', 'write unlock'];
/** Start and end of an invalidation that finds a slot, with what it zaps. */
const invalidation = (hva: string, ...zaps: string[]): string[] => {
  const flush = zaps.length > 0 ? ['flush_all'] : [];
  return [`unmap hva ${hva}`, 'write lock', 'unmap_gfn_range', ...zaps, ...flush, 'write unlock', ...END];
};

describe('the notifier', () => {
  it('zaps what MADV_DONTNEED drops, flushes under the lock, and takes the lock again at the end', () => {
    const { machine, vm, region } = machineWith('4k', true);
    machine.write(BASE, 32);
    expect(machine.heard(hostDontneed(vm, region, { first: 4, pages: 2 }))).toEqual(
      invalidation('4-6', '10004 level 1: e67 -> none', '10005 level 1: e67 -> none'),
    );
    expect(machine.heard(hostDontneed(vm, region, { first: 0x300, pages: 4 }))).toEqual(invalidation('300-304'));
  });

  it('takes no lock where no slot is in the range', () => {
    const memory = [{ name: 'A', type: '4k' as const, pages: 64, populate: true }];
    const machine = new VmMachine({ config: { memory } });
    const { ioctl: vm } = machine;
    expect(machine.heard(hostDontneed(vm, vm.region('A'), { first: 0, pages: 64 }))).toEqual(['unmap hva 0-40']);
    expect(vm.thread.counters[VmCounter.notifier_elided]).toBe(1);
  });

  it('drops one 4K page of a THP as the kernel does: the huge leaf goes, then the split tells of nothing more', () => {
    const { machine, vm, region } = machineWith('thp', true);
    machine.write(BASE, 2, 512);
    const heard = machine.heard(hostDontneed(vm, region, { first: 7, pages: 1 }));
    const [outer, inner] = [invalidation('7-8', '10000 level 2: ee7 -> none'), invalidation('0-200')];
    expect(heard).toEqual([...outer.slice(0, -3), ...inner, ...END]);
    machine.write(BASE);
    machine.write(BASE + 7);
    expect(machine.heard(hostMadvise(vm, region, { first: 0, pages: 512 }, 'collapse'))).toEqual(
      invalidation('0-200', '10000 level 1: e67 -> none', '10007 level 1: e67 -> none'),
    );
    const again = machine.heardWhile(() => machine.read(BASE + 9));
    expect(again[2]).toMatch(/^10000 level 2: 827 -> e/);
  });

  it('zaps the 2M around a part of a VMA that mprotect splits off, though it is mapped by 4K pages', () => {
    const { machine, vm, region } = machineWith('4k', true);
    machine.write(BASE, 16);
    const zaps = Array.from({ length: 16 }, (_, i) => `${(BASE + i).toString(16)} level 1: e67 -> none`);
    expect(machine.heard(hostMprotect(vm, region, { first: 4, pages: 4 }, 'read'))).toEqual([
      ...invalidation('0-200', ...zaps),
      ...invalidation('4-8'),
    ]);
    expect(machine.heardWhile(() => machine.read(BASE + 4))).toContain('10004 level 1: none -> 825');
    expect(machine.run(guestAccess(machine.vcpus[0], asGfn(BASE + 4), AccessKind.write))).toBe(GuestResult.fault);
    expect(machine.heard(hostMprotect(vm, region, { first: 4, pages: 4 }, 'read-write'))).toEqual(
      invalidation('4-8', '10004 level 1: 825 -> none'),
    );
    expect(machine.heardWhile(() => machine.read(BASE + 4))).toContain('10004 level 1: none -> e67');
    expect(machine.heard(hostMprotect(vm, region, { first: 4, pages: 4 }, 'read-write'))).toEqual([]);
  });

  it('runs in the thread of the vCPU whose write replaces the zero page, and that fault is retried', () => {
    const { machine } = machineWith('4k', false);
    machine.read(BASE + 4);
    const heard = machine.heardWhile(() => machine.write(BASE + 4));
    const retried = [...invalidation('4-5', '10004 level 1: 825 -> none'), 'fault 10004 ends 1'];
    expect(heard.slice(0, retried.length)).toEqual(retried);
    expect(heard.slice(retried.length)).toEqual([
      'read lock',
      'tdp_map',
      '10004 level 1: none -> e67',
      'read unlock',
      'fault 10004 ends 5',
    ]);
  });

  it('invalidates the range of a huge zero page, and then the 4K page that is written', () => {
    const { machine } = machineWith('thp', false);
    machine.read(BASE + 5);
    const heard = machine.heardWhile(() => machine.write(BASE + 6));
    const retried = [...invalidation('0-200', '10000 level 2: 8a5 -> none'), ...invalidation('6-7'), 'fault 10006 ends 1'];
    expect(heard.slice(0, retried.length)).toEqual(retried);
    expect(heard).toContain('10006 level 1: none -> e67');
  });

  it('had change_pte between start and end until 6.9', () => {
    const { machine } = machineWith('4k', false, { config: { kernel: '6.1' } });
    machine.read(BASE + 4);
    const heard = machine.heardWhile(() => machine.write(BASE + 4));
    expect(heard.slice(0, 9)).toEqual([
      'unmap hva 4-5',
      'write lock',
      'unmap_gfn_range',
      '10004 level 1: 825 -> 0',
      'flush_all',
      'write unlock',
      'write lock',
      'set_spte_gfn',
      'write unlock',
    ]);
  });

  it('ages each page that the host maps, a huge one at once, without a flush', () => {
    const { machine, vm, region } = machineWith('thp', true);
    machine.write(BASE + 3);
    expect(machine.heard(hostAge(vm, region, { first: 0, pages: 1024 }, 'clear_young'))).toEqual([
      'age hva 0-200',
      'write lock',
      'age_gfn_range',
      '10000 level 2: ee7 -> ec7',
      'write unlock',
      'age hva 200-400',
      'write lock',
      'age_gfn_range',
      'write unlock',
    ]);
    expect(machine.run(hostAge(vm, region, { first: 0, pages: 1024 }, 'test_young'))).toBe(0);
    // Without a flush the vCPU goes on by its TLB, and A stays clear.
    machine.write(BASE + 3);
    expect(machine.run(hostAge(vm, region, { first: 0, pages: 1 }, 'test_young'))).toBe(0);
    machine.vcpus[0].flushTlb();
    machine.write(BASE + 3);
    expect(machine.run(hostAge(vm, region, { first: 0, pages: 1 }, 'clear_flush_young'))).toBe(1);
  });

  it.each(['6.12', '6.13'] as const)('flushes for clear_flush_young in 6.12, not in 6.13 (%s)', (kernel) => {
    const { machine, vm, region } = machineWith('4k', true, { config: { kernel } });
    machine.write(BASE + 3);
    const heard = machine.heard(hostAge(vm, region, { first: 3, pages: 1 }, 'clear_flush_young'));
    expect(heard.includes('flush_all')).toBe(kernel === '6.12');
  });

  it('makes an access fail after munmap', () => {
    const { machine, vm, region } = machineWith('4k', true);
    machine.write(BASE);
    machine.run(hostMunmap(vm, region, { first: 0, pages: 1024 }));
    expect(machine.run(guestAccess(machine.vcpus[0], asGfn(BASE), AccessKind.read))).toBe(GuestResult.fault);
  });
});
