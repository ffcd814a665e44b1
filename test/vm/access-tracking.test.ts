import { describe, expect, it } from 'vitest';
import { own } from '../../src/machine/point.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { isShadowPresent, isWritable } from '../../src/mmu/spte.ts';
import { hostAge } from '../../src/vm/host-operations.ts';
import { getDirtyLog, setMemslotFlags } from '../../src/vm/ioctl.ts';
import { BASE, dirtyRuns, LOG, spteAt, VmMachine } from './vm-machine.ts';

/** EPT without A and D bits: aging takes all rights away, and faults give them back. */
function machineWithoutAd(params: Record<string, number> = {}) {
  const machine = new VmMachine({
    config: { cpu: 'ept', adBits: false, memory: [{ name: 'A', type: '4k', pages: 64, populate: true }], params },
  });
  machine.slot(1, BASE, 'A');
  const { ioctl } = machine;
  const region = ioctl.region('A');
  return {
    machine,
    kvm: ioctl.kvm,
    age: (how: 'clear_young' | 'test_young') => machine.run(hostAge(ioctl, region, { first: 0, pages: 1 }, how)),
    spte: () => spteAt(machine, BASE),
    fast: () => machine.vcpus[0].counters[MmuCounter.pf_fast],
  };
}

describe('access tracking without A and D bits', () => {
  it('marks a young leaf by taking R, W and X from it, and counts it old then', () => {
    const { machine, kvm, age, spte } = machineWithoutAd();
    machine.write(BASE);
    expect(kvm.spte.isAccessed(spte())).toBe(true);
    expect(age('clear_young')).toBe(1);
    expect(kvm.spte.isAccessTracked(spte())).toBe(true);
    expect(isShadowPresent(spte())).toBe(true);
    expect(spte().lo & 7).toBe(0);
    expect(age('test_young')).toBe(0);
    expect(age('clear_young')).toBe(0);
  });

  it('hands D over to the host when W goes', () => {
    const { machine, age } = machineWithoutAd();
    machine.write(BASE);
    age('clear_young');
    expect(machine.hostThread.kvm.counters[MmuCounter.host_pages_dirtied]).toBe(0);
    expect(machine.ioctl.kvm.counters[MmuCounter.host_pages_dirtied]).toBe(1);
  });

  it('restores R and X without mmu_lock at the next access, and W at the next write', () => {
    const { machine, kvm, age, spte, fast } = machineWithoutAd();
    machine.write(BASE);
    age('clear_young');
    // No flush: until there is one, the guest goes on by what it has cached.
    machine.read(BASE);
    expect(fast()).toBe(0);
    machine.vcpus[0].flushTlb();
    expect(machine.heardWhile(() => machine.read(BASE)).filter((line) => line.endsWith('lock'))).toEqual([]);
    expect([kvm.spte.isAccessTracked(spte()), kvm.spte.isReadable(spte()), kvm.spte.isExecutable(spte())]).toEqual([
      false,
      true,
      true,
    ]);
    expect(isWritable(spte())).toBe(false);
    expect(fast()).toBe(1);
    machine.write(BASE);
    expect(isWritable(spte())).toBe(true);
    expect(fast()).toBe(2);
    expect(age('test_young')).toBe(1);
  });

  it('logs dirty pages by write protection even with PML', () => {
    const { machine, spte } = machineWithoutAd({ pml: 1 });
    const get = () => dirtyRuns(machine.run(getDirtyLog(machine.ioctl, { slot: 1 })).bitmap, BASE);
    machine.write(BASE, 3);
    machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG));
    expect(isWritable(spte())).toBe(false);
    machine.write(BASE, 2);
    expect(get()).toBe('10000+2');
    expect(isWritable(spte())).toBe(false);
    expect(get()).toBe('');
    machine.write(BASE);
    expect(get()).toBe('10000+1');
  });

  it('never sets A or D bits in tables or leaves', () => {
    const { machine, kvm } = machineWithoutAd();
    machine.write(BASE, 4);
    const { root } = machine.vcpus[0].mmu;
    const first = machine.memory.load64(own(kvm.pages.sptep(root, 0)));
    expect([first.lo & (1 << 8), spteAt(machine, BASE).lo & (3 << 8)]).toEqual([0, 0]);
  });
});
