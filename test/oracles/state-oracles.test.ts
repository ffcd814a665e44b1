/** State oracles hold over real sequences of operations, alone and in seeded turns, on every kernel and CPU. */
import { describe, expect, it } from 'vitest';
import type { Task } from '../../src/machine/point.ts';
import type { KernelName } from '../../src/mmu/generation.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { kvmRecoverNxHugePages } from '../../src/mmu/nx-recovery.ts';
import { kvmWriteTrackAddGfn } from '../../src/mmu/page-track.ts';
import { clearDirtyLog, getDirtyLog } from '../../src/vm/dirty-log.ts';
import { hostAge, hostDontneed, hostMigratePages } from '../../src/vm/host-operations.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { setUserMemoryRegion } from '../../src/vm/set-memory-region.ts';
import type { Vm } from '../../src/vm/vm.ts';
import type { VmConfig } from '../../src/vm/vm-config.ts';
import { RAM, VmMachine } from './vm-machine.ts';

const ALL = new Uint32Array([0xffff_ffff, 0xffff_ffff]);
const logged = { ...RAM, flags: SlotFlag.logDirty };

function* logAndHarvest(vm: Vm): Task<void> {
  yield* setUserMemoryRegion(vm, logged);
  for (let i = 0; i < 3; i++) {
    yield* getDirtyLog(vm, { slot: 0 });
    if (vm.kvm.params.manualProtect) yield* clearDirtyLog(vm, { slot: 0, firstPage: 0, pages: 64, bitmap: ALL });
  }
}

function* hostStorm(vm: Vm): Task<void> {
  const ram = vm.region('ram');
  yield* hostDontneed(vm, ram, { first: 2, pages: 9 });
  yield* hostAge(vm, ram, { first: 0, pages: 64 }, 'clear_young');
  yield* hostMigratePages(vm, ram, { first: 14, pages: 6 });
}

const FLAVOURS: readonly (readonly [string, Partial<VmConfig>])[] = [
  ['npt', { cpu: 'npt' }],
  ['ept', { cpu: 'ept' }],
  ['ept without A/D bits', { cpu: 'ept', adBits: false }],
  ['ept with PML', { cpu: 'ept', params: { pml: 1 } }],
  ['manual protection', { params: { manualProtect: 1 } }],
  ['an initially set log', { params: { manualProtect: 3 } }],
  // CLEAR re-arms huge pages by the first and the last page of 64, so a huge page must not be smaller than that.
  [
    'an initially set log with PML, split late',
    { cpu: 'ept', entries: 64, maxGfn: 2 ** 20, params: { manualProtect: 3, pml: 1, eagerPageSplit: 0 } },
  ],
  ['nx_huge_pages', { params: { nxHugePages: 1, nxHugePagesRecoveryRatio: 1 } }],
  ['a spinlock', { lock: 'spinlock' }],
];

describe('state oracles hold', () => {
  it('for a VM that does nothing', () => {
    expect(new VmMachine().violations()).toEqual([]);
  });

  it.each(FLAVOURS)('after faults, logging, host changes and zaps one after the other: %s', (_name, config) => {
    const m = new VmMachine({ config });
    const steps: Task<unknown>[] = [
      m.guest(0, [0, 1, 5, 17, 40]),
      m.guest(1, [2, 3, 21, 63], AccessKind.read),
      m.guest(1, [8, 9], AccessKind.exec),
      logAndHarvest(m.ioctl),
      m.guest(0, [0, 6, 18]),
      hostStorm(m.host),
      m.guest(1, [0, 2, 3, 14, 15, 41]),
      getDirtyLog(m.ioctl, { slot: 0 }),
      kvmRecoverNxHugePages(m.other.kvm),
      m.guest(0, [2, 9], AccessKind.read),
      setUserMemoryRegion(m.ioctl, RAM),
      m.guest(0, [0, 1, 2, 3]),
      kvmWriteTrackAddGfn(m.ioctl.kvm, m.ioctl.slots.sets[0].decode(m.memory.words[m.ioctl.slots.sets[0].active])[0], asGfn(3)),
      m.guest(1, [3, 4]),
      setUserMemoryRegion(m.ioctl, { ...RAM, pages: 0 }),
      setUserMemoryRegion(m.ioctl, { ...RAM, slot: 1, baseGfn: 64 }),
      m.guest(0, [65, 66]),
    ];
    for (const [i, step] of steps.entries()) {
      m.run(step);
      expect(m.violations(), `after step ${i}`).toEqual([]);
    }
  });

  it.each(['5.15', '5.18', '6.1', '6.12', '6.13'] as KernelName[])('after concurrent operations: kernel %s', (kernel) => {
    for (let seed = 0; seed < 12; seed++) {
      const m = new VmMachine({ config: { kernel }, needResched: () => seed % 3 === 0 });
      m.run(m.guest(0, [0, 20, 40]));
      m.together(seed, m.guest(0, [0, 1, 5, 17, 1]), m.guest(1, [2, 3, 16, 40]), logAndHarvest(m.ioctl), hostStorm(m.host));
      expect(m.violations(), `seed ${seed}`).toEqual([]);
      m.together(seed, m.guest(0, [0, 1, 5]), m.guest(1, [2, 5, 16]), setUserMemoryRegion(m.ioctl, RAM), hostStorm(m.host));
      expect(m.violations(), `seed ${seed}, logging off`).toEqual([]);
    }
  });

  it.each(['5.15', '5.18', '6.1', '6.12', '6.13'] as KernelName[])(
    'after a slot moved under running vCPUs: kernel %s',
    (kernel) => {
      for (let seed = 0; seed < 12; seed++) {
        const m = new VmMachine({ config: { kernel }, needResched: () => seed % 3 === 0 });
        m.run(m.guest(0, [0, 20, 40]));
        m.together(seed, m.guest(0, [0, 70]), m.guest(1, [2, 5]), setUserMemoryRegion(m.ioctl, { ...RAM, baseGfn: 64 }));
        expect(m.violations(), `seed ${seed}`).toEqual([]);
      }
    },
  );

  it.each(FLAVOURS)('after concurrent operations: %s', (_name, config) => {
    for (let seed = 0; seed < 12; seed++) {
      const m = new VmMachine({ config, needResched: () => seed % 2 === 0 });
      m.run(m.guest(0, [0, 20, 40]));
      m.together(
        seed,
        m.guest(0, [0, 1, 5, 17, 1]),
        m.guest(1, [2, 3, 16], seed % 2 ? AccessKind.exec : AccessKind.write),
        logAndHarvest(m.ioctl),
        hostStorm(m.host),
        kvmRecoverNxHugePages(m.other.kvm),
      );
      expect(m.violations(), `seed ${seed}`).toEqual([]);
    }
  });
});
