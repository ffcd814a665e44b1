import { describe, expect, it } from 'vitest';
import { own } from '../../src/machine/point.ts';
import { seededPick } from '../../src/machine/run.ts';
import { srcuReadLock, srcuReadUnlock } from '../../src/machine/srcu.ts';
import { KvmWord } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { errnoName } from '../../src/vm/errno.ts';
import { hostDontneed } from '../../src/vm/host-operations.ts';
import { deleteMemslot, destroyVm, moveMemslot, setMemslotFlags, setParameter, setUserMemoryRegion } from '../../src/vm/ioctl.ts';
import { memslotPages, type UserMemoryRegion } from '../../src/vm/set-memory-region.ts';
import { vcpuDestroy } from '../../src/vm/vcpu-run.ts';
import { VmCounter } from '../../src/vm/vm-counters.ts';
import { BASE, LOG, VmMachine, type VmMachineOptions } from './vm-machine.ts';

const MEMORY = [
  { name: 'A', type: '4k', pages: 1024, populate: true },
  { name: 'B', type: '2m', pages: 1024, populate: true },
] as const;

const machineWith = (options: VmMachineOptions = {}) =>
  new VmMachine({ ...options, config: { memory: MEMORY, maxMemslots: 8, ...options.config } });

/** Gives a memslot and says how it went. */
const set = (machine: VmMachine, mem: Partial<UserMemoryRegion>): string => {
  const whole = { slot: 1, baseGfn: BASE, pages: 1024, region: 0, ...mem };
  return errnoName(machine.run(setUserMemoryRegion(machine.ioctl, whole)));
};

const generation = (machine: VmMachine) => machine.run(machine.ioctl.slots.generation(machine.ioctl.kvm));

describe('KVM_SET_USER_MEMORY_REGION', () => {
  it.each<[string, string, Partial<UserMemoryRegion>]>([
    ['an unknown flag', '-EINVAL', { flags: 4 }],
    ['a slot number beyond the last', '-EINVAL', { slot: 8 }],
    ['a third address space', '-EINVAL', { asId: 2 }],
    ['more pages than a slot can hold', '-EINVAL', { pages: 2 ** 31 }],
    ['an end beyond the guest-physical address space', '-EINVAL', { baseGfn: 2 ** 34 - 1023 }],
    ['a negative page', '-EINVAL', { regionPage: -1 }],
    ['memory that the process does not have', '-EINVAL', { region: 2 }],
    ['deleting what is not there', '-EINVAL', { pages: 0 }],
    ['an overlap with another slot', '-EEXIST', { slot: 2, baseGfn: BASE + 2047 }],
    ['another size for an existing slot', '-EINVAL', { slot: 3, baseGfn: BASE + 1024, region: 1, pages: 512 }],
    ['other memory for an existing slot', '-EINVAL', { slot: 3, baseGfn: BASE + 1024, region: 0 }],
    ['making an existing slot read-only', '-EINVAL', { slot: 3, baseGfn: BASE + 1024, region: 1, flags: SlotFlag.readonly }],
    ['moving a slot onto another', '-EEXIST', { slot: 3, baseGfn: BASE + 5000, region: 1 }],
    ['what is as it was', '0', { slot: 3, baseGfn: BASE + 1024, region: 1 }],
    ['the same gfns in the other address space', '0', { asId: 1, slot: 3, baseGfn: BASE + 1024, region: 1 }],
  ])('answers %s with %s', (_what, result, mem) => {
    const machine = machineWith();
    machine.slot(3, BASE + 1024, 'B');
    machine.slot(4, BASE + 5500, 'A');
    expect(set(machine, mem)).toBe(result);
  });

  it('takes mmu_lock for write on creation, and zaps nothing', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'A');
    machine.write(BASE);
    expect(machine.heardWhile(() => set(machine, { slot: 2, baseGfn: 0x30000, region: 1 }))).toEqual([
      'write lock',
      'write unlock',
    ]);
    expect(memslotPages(machine.ioctl)).toBe(2048);
  });

  it('moves the generation by two with each publication', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'A');
    expect(generation(machine)).toEqual({ number: 2, inProgress: false });
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    expect(generation(machine).number).toBe(4);
    // Published as invalid, and then without it.
    machine.run(deleteMemslot(machine.ioctl, { slot: 1 }));
    expect(generation(machine).number).toBe(8);
  });

  it('deletes a slot by making all roots obsolete, and then zapping them', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'A');
    machine.write(BASE);
    const heard = machine.heard(deleteMemslot(machine.ioctl, { slot: 1 }));
    expect(heard.slice(0, 6)).toEqual([
      'write lock',
      'kvm_mmu_zap_all_fast',
      'inval_roots',
      'write unlock',
      'zap_invalidated_roots',
      'read lock',
    ]);
    expect(heard).toContain('10000 level 1: e67 -> none');
    expect(heard.slice(-3)).toEqual(['read unlock', 'write lock', 'write unlock']);
    expect([memslotPages(machine.ioctl), machine.run(machine.ioctl.slots.find(machine.ioctl.kvm, 0, asGfn(BASE)))]).toEqual([
      0,
      null,
    ]);
  });

  it('deletes a slot by zapping only its leaves with the quirk off', () => {
    const machine = machineWith({ config: { params: { slotZapAll: 0 } } });
    machine.slot(1, BASE, 'A');
    machine.slot(2, 0x20000, 'B');
    machine.write(BASE);
    machine.write(0x20000);
    expect(machine.heard(deleteMemslot(machine.ioctl, { slot: 2 }))).toEqual([
      'write lock',
      'unmap_gfn_range',
      '20000 level 2: ee7 -> none',
      'flush_all',
      'write unlock',
      'write lock',
      'write unlock',
    ]);
    expect(machine.heardWhile(() => machine.write(BASE))).toEqual([]);
  });

  it('moves a slot with what it holds', () => {
    const machine = machineWith({ config: { trackContents: true } });
    machine.slot(1, BASE, 'A', LOG);
    machine.write(BASE + 5);
    const before = machine.vcpus[0].version;
    expect(machine.run(moveMemslot(machine.ioctl, { slot: 1 }, 0x50000))).toBe(0);
    machine.write(0x50005);
    expect(machine.vcpus[0].version).toBe(before + 1);
    expect(machine.run(machine.ioctl.slots.find(machine.ioctl.kvm, 0, asGfn(BASE + 5)))).toBeNull();
    expect(machine.run(machine.ioctl.slots.find(machine.ioctl.kvm, 0, asGfn(0x50005)))?.flags).toBe(LOG);
  });

  it('has no memory for a dirty bitmap when the heap is full, and leaves the slot as it was', () => {
    const machine = machineWith({ config: { heapWords: 32 } });
    machine.slot(1, BASE, 'A');
    expect(errnoName(machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG)))).toBe('-ENOMEM');
    expect(machine.run(machine.ioctl.slots.find(machine.ioctl.kvm, 0, asGfn(BASE)))?.flags).toBe(0);
    expect(machine.ioctl.thread.holdsNothing()).toBe(true);
  });

  it('gives the dirty bitmap back when logging ends, and with the slot', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'A', LOG);
    const { heap } = machine.ioctl.space;
    expect(heap.usedWords()).toBeGreaterThan(0);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, 0));
    expect(heap.usedWords()).toBe(0);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    machine.run(deleteMemslot(machine.ioctl, { slot: 1 }));
    expect(heap.usedWords()).toBe(0);
    expect(machine.memory.load32(own(machine.ioctl.kvm.word(KvmWord.dirtyLogging)))).toBe(0);
  });
});

describe('enabling and disabling the log', () => {
  const huge = (params: VmMachineOptions['config']) => {
    const machine = machineWith({ config: params });
    machine.slot(1, BASE, 'B');
    machine.write(BASE);
    return machine;
  };
  const summary = (heard: readonly string[]): string[] => heard.filter((line) => !/level|lock/.test(line));

  it.each([
    [
      'splits and write-protects with eager splitting',
      {},
      ['try_split 10000-10400', 'wrprot_slot 1', 'flush_memslot', 'flush_all'],
    ],
    ['only write-protects without', { eagerPageSplit: 0 }, ['wrprot_slot 1', 'flush_memslot', 'flush_all']],
    ['does nothing in initially-set mode', { manualProtect: 3 }, []],
    [
      'clears dirty bits with PML, and write-protects huge pages',
      { pml: 1 },
      ['try_split 10000-10400', 'clear_dirty_slot', 'wrprot_slot 2', 'flush_memslot', 'flush_all'],
    ],
  ])('%s', (_what, params, expected) => {
    const machine = huge({ params, cpu: 'pml' in params ? 'ept' : 'npt' });
    expect(summary(machine.heard(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG)))).toEqual(expected);
  });

  it('flushes though nothing was writable since 6.0, not before', () => {
    for (const kernel of ['5.18', '6.1'] as const) {
      const machine = machineWith({ config: { kernel } });
      machine.slot(1, BASE, 'B');
      const heard = machine.heard(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
      expect([kernel, heard.includes('flush_all')]).toEqual([kernel, kernel === '6.1']);
    }
  });

  it('collapses when logging ends, and leaves a read-only slot alone', () => {
    const machine = huge({});
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    expect(summary(machine.heard(setMemslotFlags(machine.ioctl, { slot: 1 }, 0)))).toEqual([
      'zap_collapsible',
      'flush 10000+512',
      'flush_all',
    ]);
    set(machine, { slot: 2, baseGfn: 0x20000, flags: SlotFlag.readonly });
    expect(machine.heard(setMemslotFlags(machine.ioctl, { slot: 2 }, LOG | SlotFlag.readonly))).toEqual([]);
  });
});

describe('publishing memslots', () => {
  it('waits until no invalidation is active, and until readers of the old slots are gone', () => {
    for (let seed = 0; seed < 20; seed++) {
      const machine = machineWith();
      machine.slot(1, BASE, 'A');
      const { ioctl, hostThread, vms } = machine;
      const reader = vms[0];
      let reading = 0;
      machine.together(
        [
          (function* () {
            yield* setMemslotFlags(ioctl, { slot: 1 }, LOG);
            // A slot that was found before the swap is in use no more.
            expect(reading === 0 || reading === LOG).toBe(true);
          })(),
          (function* () {
            const index = yield* srcuReadLock(reader.kvm.srcu, reader.thread);
            reading = -1;
            const slot = yield* reader.slots.find(reader.kvm, 0, asGfn(BASE));
            const later = yield* reader.slots.find(reader.kvm, 0, asGfn(BASE));
            expect([0, LOG]).toContain(slot!.flags);
            reading = later!.flags === LOG ? LOG : 0;
            yield* srcuReadUnlock(reader.kvm.srcu, reader.thread, index);
          })(),
          hostDontneed(hostThread, hostThread.region('A'), { first: 0, pages: 4 }),
        ],
        seededPick(seed),
        { strictWakes: false },
      );
      expect(machine.memory.load32(own(ioctl.kvm.word(KvmWord.mnActive)))).toBe(0);
      expect(machine.memory.load32(own(ioctl.kvm.word(KvmWord.invalidateInProgress)))).toBe(0);
    }
  });

  it('does wait for invalidations under some schedules', () => {
    let waits = 0;
    for (let seed = 0; seed < 20; seed++) {
      const machine = machineWith();
      machine.slot(1, BASE, 'A');
      const { ioctl, hostThread } = machine;
      const tasks = [
        setMemslotFlags(ioctl, { slot: 1 }, LOG),
        hostDontneed(hostThread, hostThread.region('A'), { first: 0, pages: 4 }),
      ];
      machine.together(tasks, seededPick(seed), { strictWakes: false });
      waits += ioctl.thread.counters[VmCounter.memslot_swap_waits];
    }
    expect(waits).toBeGreaterThan(0);
  });
});

describe('parameters and the end', () => {
  it('makes all roots obsolete when nx_huge_pages is written', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'A');
    machine.write(BASE);
    expect(machine.heard(setParameter(machine.ioctl, 'nxHugePages', 1))).toContain('inval_roots');
    expect(machine.heard(setParameter(machine.ioctl, 'eagerPageSplit', 0))).toEqual([]);
  });

  it('gives everything back when the VM is destroyed', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'A', LOG);
    machine.slot(2, 0x20000, 'B');
    machine.write(BASE, 20);
    machine.write(0x20000);
    machine.run(
      destroyVm(machine.ioctl, function* () {
        for (const vcpu of machine.vcpus) yield* vcpuDestroy(vcpu);
      }),
    );
    const { kvm, space } = machine.ioctl;
    expect(space.heap.usedWords()).toBe(0);
    expect(machine.memory.load32(own(kvm.word(KvmWord.roots)))).toBe(0);
    const cached = machine.vcpus.reduce((sum, vcpu) => sum + vcpu.mmu.pageCache.pages.length, 0);
    expect(kvm.allocator.usedPages(machine.memory)).toBe(cached);
  });
});
