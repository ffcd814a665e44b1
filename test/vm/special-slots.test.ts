import { describe, expect, it } from 'vitest';
import { own } from '../../src/machine/point.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { isShadowPresent, isWritable, MMIO_GEN_BITS } from '../../src/mmu/spte.ts';
import { errnoName } from '../../src/vm/errno.ts';
import { deleteMemslot } from '../../src/vm/ioctl.ts';
import { preFaultMemory } from '../../src/vm/pre-fault.ts';
import { VcpuCounter } from '../../src/vm/vcpu-counters.ts';
import { BASE, spteAt, VmMachine } from './vm-machine.ts';

const machineWith = (config = {}) => {
  const memory = [
    { name: 'A', type: 'thp' as const, pages: 1024, populate: true },
    { name: 'B', type: '4k' as const, pages: 64, populate: true },
  ];
  return new VmMachine({ config: { memory, ...config } });
};

describe('a read-only slot', () => {
  it('is mapped without W for reads; writes are emulated by user space, and reach no memory', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'B', SlotFlag.readonly);
    machine.read(BASE);
    const spte = spteAt(machine, BASE);
    const { kvm } = machine.ioctl;
    expect([isShadowPresent(spte), isWritable(spte), kvm.spte.isMmuWritable(spte)]).toEqual([true, false, false]);
    machine.write(BASE);
    expect(machine.vcpus[0].counters[VcpuCounter.mmio_exits]).toBe(1);
    expect(machine.vcpus[0].counters[MmuCounter.pf_fast]).toBe(0);
    expect(isWritable(spteAt(machine, BASE))).toBe(false);
  });
});

describe('MMIO SPTEs', () => {
  const OUTSIDE = BASE + 0x8000;
  const created = (machine: VmMachine) => machine.vcpus[0].counters[MmuCounter.pf_mmio_spte_created];

  it('serve later accesses until the memslots change, and are made anew then', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'B');
    machine.write(OUTSIDE);
    machine.write(OUTSIDE);
    expect(created(machine)).toBe(1);
    expect(machine.ioctl.kvm.spte.isMmio(spteAt(machine, OUTSIDE))).toBe(true);
    machine.slot(2, BASE + 0x4000, 'A');
    machine.write(OUTSIDE);
    machine.write(OUTSIDE);
    expect(created(machine)).toBe(2);
  });

  it('give way to memory that comes to be where they are', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'B');
    machine.write(OUTSIDE);
    machine.slot(2, OUTSIDE, 'A');
    machine.write(OUTSIDE);
    expect(isWritable(spteAt(machine, OUTSIDE))).toBe(true);
    machine.run(deleteMemslot(machine.ioctl, { slot: 2 }));
    machine.write(OUTSIDE);
    expect(machine.ioctl.kvm.spte.isMmio(spteAt(machine, OUTSIDE))).toBe(true);
  });

  it('all go when the generation that they carry comes round to 0', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'B');
    const [sets] = machine.ioctl.slots.sets;
    const jump = (generation: number) => {
      for (const set of [0, 1]) machine.memory.store32(own(sets.generationWord(set)), 2 * generation);
    };
    jump(2 ** MMIO_GEN_BITS - 4);
    machine.write(OUTSIDE);
    const { root } = machine.vcpus[0].mmu;
    const change = (slot: number) => machine.slot(slot, BASE + 0x4000 * slot, 'A');
    change(2);
    machine.write(OUTSIDE);
    expect(machine.vcpus[0].mmu.root).toBe(root);
    // 2^19: what SPTEs carry is 0, as in those made long ago.
    change(3);
    machine.write(OUTSIDE);
    expect(machine.vcpus[0].mmu.root).not.toBe(root);
    expect(machine.ioctl.kvm.counters[MmuCounter.roots_invalidated]).toBe(1);
  });
});

describe('KVM_PRE_FAULT_MEMORY', () => {
  it('maps what the guest has not touched, as large as may be, without the accessed bit', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'A');
    const [vcpu] = machine.vcpus;
    expect(machine.run(preFaultMemory(vcpu, asGfn(BASE + 5), 1000))).toEqual({ result: 0, done: 1000 });
    const { kvm } = vcpu;
    expect([isShadowPresent(spteAt(machine, BASE)), kvm.spte.isAccessed(spteAt(machine, BASE))]).toEqual([true, false]);
    const taken = vcpu.counters[MmuCounter.pf_taken];
    expect(taken).toBe(0);
    machine.read(BASE, 1024);
    expect(vcpu.counters[MmuCounter.pf_taken]).toBe(0);
    expect(kvm.spte.isAccessed(spteAt(machine, BASE))).toBe(true);
  });

  it('stops at the end of memory with what it has done, and fails where there is none', () => {
    const machine = machineWith();
    machine.slot(1, BASE, 'B');
    const [vcpu] = machine.vcpus;
    expect(machine.run(preFaultMemory(vcpu, asGfn(BASE + 60), 8))).toEqual({ result: 0, done: 4 });
    const { result, done } = machine.run(preFaultMemory(vcpu, asGfn(BASE + 64), 8));
    expect([errnoName(result), done]).toEqual(['-ENOENT', 0]);
  });

  it('is no ioctl of kernels before 6.11', () => {
    const machine = machineWith({ kernel: '6.1' });
    machine.slot(1, BASE, 'B');
    const { result } = machine.run(preFaultMemory(machine.vcpus[0], asGfn(BASE), 8));
    expect(errnoName(result)).toBe('-EINVAL');
  });
});
