import { describe, expect, it } from 'vitest';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { asGfn, type Level } from '../../src/mmu/level.ts';
import { kvmRecoverNxHugePages } from '../../src/mmu/nx-recovery.ts';
import { pagesStat, VmStat, vmStat } from '../../src/mmu/vm-stat.ts';
import { guestAccess } from '../../src/vm/guest.ts';
import { hostDontneed } from '../../src/vm/host-operations.ts';
import {
  deleteMemslot,
  getDirtyLog,
  moveMemslot,
  setMemslotFlags,
  setParameter,
  setUserMemoryRegion,
} from '../../src/vm/ioctl.ts';
import { clearYoung, testYoung } from '../../src/vm/mmu-notifier.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { rmapBytes } from '../../src/vm/rmap-bytes.ts';
import { GuestResult } from '../../src/vm/vcpu.ts';
import { vmConfig } from '../../src/vm/vm-config.ts';
import { BASE, dirtyRuns, LOG } from '../vm/vm-machine.ts';
import { ShadowMachine } from './shadow-machine.ts';

const { read, write, exec } = AccessKind;

const THP = { name: 'A', type: 'thp' as const, pages: 2048, populate: true };
const SMALL_PAGES = { name: 'A', type: '4k' as const, pages: 2048, populate: true };

function machineOf(config: ConstructorParameters<typeof ShadowMachine>[0] = {}, flags = 0): ShadowMachine {
  const machine = new ShadowMachine({ ...config, config: { memory: [THP], ...config.config } });
  machine.slot(1, BASE, 'A', flags);
  return machine;
}

const leaves = (machine: ShadowMachine, level: Level): number => vmStat(machine.ioctl.kvm, pagesStat(level));

describe('the configuration', () => {
  it('forces the spinlock, and refuses another lock by name', () => {
    expect(vmConfig({ mmu: 'shadow' }).lock).toBe('spinlock');
    expect(vmConfig(vmConfig({ mmu: 'shadow' })).lock).toBe('spinlock');
    expect(() => vmConfig({ mmu: 'shadow', lock: 'rwlock' })).toThrow('the rmap-based MMU has a spinlock');
    expect(() => vmConfig({ mmu: 'rmap' as never })).toThrow("mmu: 'rmap'");
    expect(vmConfig({}).mmu).toBe('tdp');
  });
});

describe('faults', () => {
  it('map 4K pages with a reverse mapping each, and a root that vCPUs of one role share', () => {
    const machine = machineOf({ config: { memory: [SMALL_PAGES], vcpus: 2 } });
    machine.write(BASE, 3);
    machine.run(machine.guest(1, BASE, 4, read));
    expect(machine.vcpus[0].mmu.root).toBe(machine.vcpus[1].mmu.root);
    expect(machine.roots.map((root) => machine.rootCount(root))).toEqual([2]);
    expect([leaves(machine, 1), leaves(machine, 2)]).toEqual([4, 0]);
    // One table a level below the root.
    expect(vmStat(machine.ioctl.kvm, VmStat.tdpMmuPages)).toBe(3);
    expect(machine.count(MmuCounter.leaves_installed)).toBe(4);
    machine.expectSound();
  });

  it('map what the host maps huge, until the slot logs: then the huge page goes and its neighbours fault again', () => {
    const machine = machineOf();
    machine.write(BASE, 4, 512);
    expect([leaves(machine, 1), leaves(machine, 2)]).toEqual([0, 4]);
    machine.expectSound();
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    machine.write(BASE + 5);
    // Nothing is split: of the 512 pages one is mapped.
    expect([leaves(machine, 1), leaves(machine, 2)]).toEqual([1, 3]);
    machine.expectSound();
  });

  it('keep several address spaces apart, with a reverse map each', () => {
    const machine = machineOf();
    const region = machine.ioctl.region('A').index;
    const smm = { slot: 1, asId: 1, baseGfn: 0x400, pages: 512, region };
    expect(machine.run(setUserMemoryRegion(machine.ioctl, smm))).toBe(0);
    machine.write(BASE);
    machine.expectSound();
    machine.run(hostDontneed(machine.hostThread, machine.ioctl.region('A'), { first: 0, pages: 512 }));
    expect(leaves(machine, 2)).toBe(0);
    machine.expectSound();
  });

  it('make MMIO SPTEs where no slot is, which are outdated with the next slot', () => {
    const machine = machineOf();
    expect(machine.run(guestAccess(machine.vcpus[0], asGfn(0x100), read))).toBe(GuestResult.mmio);
    expect(machine.count(MmuCounter.pf_mmio_spte_created)).toBe(1);
    expect(machine.run(guestAccess(machine.vcpus[0], asGfn(0x100), read))).toBe(GuestResult.mmio);
    expect(machine.count(MmuCounter.pf_mmio_spte_created)).toBe(1);
    machine.expectSound();
    const region = machine.ioctl.region('A').index;
    machine.run(setUserMemoryRegion(machine.ioctl, { slot: 2, baseGfn: 0x100, pages: 8, region }));
    expect(machine.run(guestAccess(machine.vcpus[0], asGfn(0x100), write))).toBe(GuestResult.done);
    machine.expectSound();
  });

  it('leave a write-tracked page protected, at any size, and the pages beside it alone', () => {
    const machine = machineOf();
    machine.write(BASE);
    machine.run(machine.trackWrites(BASE + 3));
    expect(machine.write.bind(machine, BASE + 2)).not.toThrow();
    expect(leaves(machine, 2)).toBe(0);
    machine.read(BASE + 3);
    const before = machine.count(MmuCounter.pf_write_protected);
    machine.run(machine.guest(0, BASE + 3, 1, write));
    expect(machine.count(MmuCounter.pf_write_protected)).toBe(before + 1);
    expect(machine.leafWritable(BASE + 3)).toBe(false);
    expect(machine.leafWritable(BASE + 2)).toBe(true);
    machine.expectSound();
  });

  it('make small what is executed under nx_huge_pages, and let NX recovery zap the table', () => {
    const machine = machineOf({ config: { params: { nxHugePages: 1, nxHugePagesRecoveryRatio: 1 } } });
    machine.read(BASE);
    expect(leaves(machine, 2)).toBe(1);
    machine.touch(BASE + 1, 1, exec);
    machine.read(BASE + 7);
    // The read does not undo what the fetch needs.
    expect([leaves(machine, 1), leaves(machine, 2)]).toEqual([2, 0]);
    expect(vmStat(machine.ioctl.kvm, VmStat.nxLpageSplits)).toBe(1);
    expect(machine.run(kvmRecoverNxHugePages(machine.ioctl.kvm))).toBe(1);
    expect([leaves(machine, 1), vmStat(machine.ioctl.kvm, VmStat.nxLpageSplits)]).toEqual([0, 0]);
    machine.expectSound();
    machine.read(BASE + 7);
    expect(leaves(machine, 2)).toBe(1);
    machine.expectSound();
  });
});

describe('the dirty log', () => {
  it.each([
    ['write protection', {}],
    ['PML', { cpu: 'ept' as const, params: { pml: 1 }, pmlEntries: 8 }],
    ['no A/D bits', { cpu: 'ept' as const, adBits: false }],
  ])('is harvested by GET with %s: what was written since, no more and no less', (_name, config) => {
    const machine = machineOf({ config: { ...config, memory: [SMALL_PAGES] } });
    machine.write(BASE, 64);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    const get = (): string => dirtyRuns(machine.run(getDirtyLog(machine.ioctl, { slot: 1 })).bitmap);
    expect(get()).toBe('');
    machine.write(BASE + 3, 2);
    machine.read(BASE + 9, 5);
    machine.write(BASE + 700, 1);
    expect(get()).toBe('3+2 2bc+1');
    machine.read(BASE + 3, 2);
    expect(get()).toBe('');
    machine.write(BASE + 4);
    expect(get()).toBe('4+1');
    machine.expectSound();
  });

  it('takes W from every SPTE of the slot by its reverse maps, and from no other slot', () => {
    const machine = machineOf({ config: { memory: [SMALL_PAGES, { ...SMALL_PAGES, name: 'B', pages: 64 }] } });
    machine.slot(2, 0x100, 'B');
    machine.write(BASE, 20);
    machine.write(0x100, 10);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    expect(machine.count(MmuCounter.write_protected)).toBe(20);
    expect([machine.leafWritable(BASE), machine.leafWritable(0x100)]).toEqual([false, true]);
    machine.expectSound();
  });

  it('lets the first write after it be fixed without the lock', () => {
    const machine = machineOf({ config: { memory: [SMALL_PAGES] } });
    machine.write(BASE, 4);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    const fast = machine.count(MmuCounter.pf_fast);
    const heard = machine.heardWhile(() => machine.write(BASE, 4));
    expect(machine.count(MmuCounter.pf_fast)).toBe(fast + 4);
    expect(heard.filter((line) => line === 'write lock')).toEqual([]);
    machine.expectSound();
  });

  it('protects huge pages only when CLEAR names one of their pages, in initially-set mode', () => {
    const machine = machineOf({ config: { params: { manualProtect: 3 } } });
    machine.write(BASE, 4, 512);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    expect(machine.leafWritable(BASE, 2)).toBe(true);
    machine.run(machine.clear(1, 64, 64));
    expect([machine.leafWritable(BASE, 2), machine.leafWritable(BASE + 512, 2)]).toEqual([false, true]);
    machine.write(BASE + 65);
    expect([leaves(machine, 1), leaves(machine, 2)]).toEqual([1, 3]);
    machine.expectSound();
  });
});

describe('collapse', () => {
  it('zaps small pages that the host maps huge when logging ends, and the next fault maps them huge', () => {
    const machine = machineOf({}, LOG);
    machine.write(BASE, 1024);
    expect([leaves(machine, 1), leaves(machine, 2)]).toEqual([1024, 0]);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, 0));
    expect(leaves(machine, 1)).toBe(0);
    expect(machine.count(MmuCounter.collapses)).toBe(1024);
    const tables = vmStat(machine.ioctl.kvm, VmStat.tdpMmuPages);
    machine.write(BASE, 2, 512);
    expect([leaves(machine, 1), leaves(machine, 2)]).toEqual([0, 2]);
    // The empty tables have no parent any more, but wait in the hash.
    expect(vmStat(machine.ioctl.kvm, VmStat.tdpMmuPages)).toBe(tables);
    machine.expectSound();
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    machine.write(BASE, 2, 512);
    expect(vmStat(machine.ioctl.kvm, VmStat.tdpMmuPages)).toBe(tables);
    machine.expectSound();
  });

  it('leaves pages alone that the host maps small', () => {
    const machine = machineOf({ config: { memory: [SMALL_PAGES] } }, LOG);
    machine.write(BASE, 16);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, 0));
    expect([leaves(machine, 1), machine.count(MmuCounter.collapses)]).toEqual([16, 0]);
    machine.expectSound();
  });
});

describe('the notifier', () => {
  it('unmaps exactly the range, huge pages as a whole, with a flush under the lock', () => {
    const machine = machineOf({ config: { memory: [SMALL_PAGES] } });
    machine.write(BASE, 32);
    const drop = hostDontneed(machine.hostThread, machine.ioctl.region('A'), { first: 4, pages: 8 });
    const heard = machine.heard(drop).filter((line) => /lock|flush/.test(line));
    expect(heard).toEqual(['write lock', 'flush_all', 'write unlock', 'write lock', 'write unlock']);
    expect(leaves(machine, 1)).toBe(24);
    machine.expectSound();
    const huge = machineOf();
    huge.write(BASE, 2, 512);
    huge.run(hostDontneed(huge.hostThread, huge.ioctl.region('A'), { first: 5, pages: 1 }));
    expect(leaves(huge, 2)).toBe(1);
    huge.expectSound();
  });

  it.each([true, false])('ages by reverse maps (A/D bits: %s)', (adBits) => {
    const machine = machineOf({ config: { memory: [SMALL_PAGES], cpu: 'ept', adBits } });
    const { kvm } = machine.ioctl;
    const range = (first: number, end: number) => ({ region: machine.ioctl.region('A').index, first, end });
    machine.write(BASE, 8);
    expect(machine.run(clearYoung(kvm, range(0, 4)))).toBe(true);
    expect([machine.run(testYoung(kvm, range(0, 4))), machine.run(testYoung(kvm, range(4, 8)))]).toEqual([false, true]);
    expect(machine.run(clearYoung(kvm, range(0, 4)))).toBe(false);
    expect(machine.count(MmuCounter.aged)).toBe(4);
    machine.vcpus[0].flushTlb();
    machine.read(BASE, 1);
    expect(machine.run(testYoung(kvm, range(0, 4)))).toBe(true);
    machine.expectSound();
  });
});

describe('memslots', () => {
  it('take their reverse maps with them: deleted, moved, refused for want of memory', () => {
    const machine = machineOf({ config: { memory: [{ ...SMALL_PAGES, populate: false }] } });
    const { heap } = machine.ioctl.space;
    machine.run(deleteMemslot(machine.ioctl, { slot: 1 }));
    const empty = heap.usedWords();
    machine.slot(1, BASE, 'A');
    const full = heap.usedWords();
    expect(full - empty).toBeGreaterThanOrEqual(2 * 2048);
    machine.write(BASE, 8);
    const mapped = heap.usedWords() - full;
    expect(machine.run(moveMemslot(machine.ioctl, { slot: 1 }, BASE + 0x801))).toBe(0);
    expect(leaves(machine, 1)).toBe(0);
    machine.write(BASE + 0x801, 8);
    machine.expectSound();
    // One head more at each level for a slot that begins in the middle of a page.
    expect(machine.run(deleteMemslot(machine.ioctl, { slot: 1 }))).toBe(0);
    expect(heap.usedWords()).toBe(empty + mapped);
    machine.expectSound();
  });

  it('give everything back when the VM is destroyed', () => {
    const machine = machineOf({ config: { vcpus: 2 } });
    const heap = machine.ioctl.space.heap.usedWords();
    machine.run(deleteMemslot(machine.ioctl, { slot: 1 }));
    const before = machine.ioctl.space.heap.usedWords();
    expect(before).toBeLessThan(heap);
    machine.slot(1, BASE, 'A', LOG);
    machine.write(BASE, 600);
    machine.run(machine.guest(1, BASE + 512, 700, read));
    machine.run(setParameter(machine.ioctl, 'nxHugePages', 1));
    machine.run(machine.guest(1, BASE, 30, write));
    machine.expectSound();
    // A vCPU that has not run since holds the old root.
    expect(machine.roots.length).toBe(2);
    machine.expectAllReturned(before);
  });

  it('are zapped by making all pages obsolete: an idle vCPU keeps an empty root, others go on with another', () => {
    const machine = machineOf({ config: { vcpus: 2, memory: [SMALL_PAGES] } });
    machine.write(BASE, 40);
    machine.run(machine.guest(1, BASE, 4, read));
    const old = machine.vcpus[1].mmu.root;
    machine.run(setParameter(machine.ioctl, 'nxHugePages', 1));
    expect(leaves(machine, 1)).toBe(0);
    expect(machine.roots).toEqual([old]);
    machine.expectSound();
    machine.write(BASE, 40);
    expect(machine.roots.length).toBe(2);
    expect(machine.rootCount(old)).toBe(1);
    // Twice: the generation is the old root's again, but the root stays obsolete.
    machine.run(setParameter(machine.ioctl, 'nxHugePages', 0));
    machine.run(machine.guest(1, BASE, 4, read));
    expect(machine.vcpus[1].mmu.root).not.toBe(old);
    machine.expectSound();
  });
});

describe('memory', () => {
  it('costs 0.2 % of the guest for reverse maps, mapped or not; the TDP MMU has none', () => {
    // The slot begins in the middle of a 1G page, and so touches two.
    const machine = machineOf({ config: { memory: [{ name: 'A', type: 'thp', pages: 2 ** 18 }] } });
    const bytes = rmapBytes(machine.ioctl);
    expect(bytes).toMatchObject({ guestBytes: 2 ** 30, descriptorBytes: 0, headBytes: 8 * (2 ** 18 + 2 ** 9 + 2) });
    expect(bytes.share).toBeCloseTo(8 / 4096, 5);
    machine.write(BASE);
    expect(rmapBytes(machine.ioctl)).toEqual(bytes);
  });

  it('costs 32 bytes more for a page that two roots map', () => {
    const machine = machineOf({ config: { vcpus: 2, memory: [SMALL_PAGES] } });
    const before = rmapBytes(machine.ioctl).totalBytes;
    machine.vcpus[1].mmu.guestMode = true;
    machine.write(BASE, 10);
    machine.run(machine.guest(1, BASE, 3, read));
    expect(machine.roots.length).toBe(2);
    expect(rmapBytes(machine.ioctl).totalBytes - before).toBe(3 * 32);
    machine.expectSound();
    machine.run(hostDontneed(machine.hostThread, machine.ioctl.region('A'), { first: 0, pages: 16 }));
    expect(leaves(machine, 1)).toBe(0);
    expect(rmapBytes(machine.ioctl).totalBytes).toBe(before);
    machine.expectSound();
  });
});
