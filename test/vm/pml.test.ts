import { describe, expect, it } from 'vitest';
import { any64 } from '../../src/machine/word64.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { kvmMmuNewPgd } from '../../src/mmu/root-load.ts';
import { isWritable } from '../../src/mmu/spte.ts';
import { clearDirtyLog, getDirtyLog, setMemslotFlags } from '../../src/vm/ioctl.ts';
import { pmlGfns } from '../../src/vm/pml.ts';
import { VcpuCounter } from '../../src/vm/vcpu-counters.ts';
import { BASE, dirtyRuns, LOG, spteAt, VmMachine } from './vm-machine.ts';

function machineWithPml(params: Record<string, number> = {}) {
  const machine = new VmMachine({
    config: {
      cpu: 'ept',
      memory: [{ name: 'A', type: 'thp', pages: 1024, populate: true }],
      params: { pml: 1, ...params },
      pmlEntries: 8,
    },
  });
  machine.slot(1, BASE, 'A');
  const { ioctl } = machine;
  return {
    machine,
    vcpu: machine.vcpus[0],
    flags: (flags: number) => machine.run(setMemslotFlags(ioctl, { slot: 1 }, flags)),
    get: () => dirtyRuns(machine.run(getDirtyLog(ioctl, { slot: 1 })).bitmap, BASE),
    dirty: (gfn: number) => any64(spteAt(machine, gfn), ioctl.kvm.spte.dirty),
  };
}

describe('dirty logging by page-modification logs', () => {
  it('clears D and leaves W, so that no write faults; the log says what was written', () => {
    const { machine, vcpu, flags, get, dirty } = machineWithPml();
    machine.write(BASE, 8);
    flags(LOG);
    expect([isWritable(spteAt(machine, BASE)), dirty(BASE)]).toEqual([true, false]);
    const faults = vcpu.counters[MmuCounter.pf_taken];
    machine.write(BASE + 1, 3);
    expect(vcpu.counters[MmuCounter.pf_taken]).toBe(faults);
    expect([dirty(BASE + 1), dirty(BASE)]).toEqual([true, false]);
    expect(get()).toBe('10001+3');
    // Reported, so D is clear again: the next write is logged anew.
    expect(dirty(BASE + 1)).toBe(false);
    machine.write(BASE + 2);
    expect(get()).toBe('10002+1');
  });

  it('leaves the guest when the log is full, and loses nothing', () => {
    const { machine, vcpu, flags, get } = machineWithPml();
    machine.write(BASE, 40);
    flags(LOG);
    machine.write(BASE, 20);
    expect(vcpu.counters[VcpuCounter.pml_full_exits]).toBe(2);
    expect(get()).toBe('10000+20');
    expect(pmlGfns(machine.memory, vcpu.area)).toEqual([]);
  });

  it('write-protects huge pages, which one entry of a log cannot stand for', () => {
    const { machine, flags, get } = machineWithPml({ eagerPageSplit: 0 });
    machine.write(BASE);
    expect(machine.ioctl.kvm.spte.isMmuWritable(spteAt(machine, BASE))).toBe(true);
    flags(LOG);
    expect(isWritable(spteAt(machine, BASE))).toBe(false);
    machine.write(BASE + 5);
    expect(get()).toBe('10005+1');
  });

  it('clears D of what CLEAR names, and of nothing else', () => {
    const { machine, flags, get, dirty } = machineWithPml({ manualProtect: 1 });
    machine.write(BASE, 4);
    flags(LOG);
    machine.write(BASE, 4);
    expect(get()).toBe('10000+4');
    const bitmap = new Uint32Array(2);
    bitmap[0] = 0b0101;
    expect(machine.run(clearDirtyLog(machine.ioctl, { slot: 1, firstPage: 0, pages: 64, bitmap }))).toBe(0);
    expect([0, 1, 2, 3].map((i) => dirty(BASE + i))).toEqual([false, true, false, true]);
    expect(get()).toBe('10001+1 10003+1');
  });

  it('is off for a nested guest: its roots are write-protected, and the processor writes nothing down', () => {
    const { machine, vcpu, flags, get } = machineWithPml();
    machine.run(kvmMmuNewPgd(vcpu.kvm, vcpu.mmu, 0, true));
    machine.write(BASE, 4);
    flags(LOG);
    expect(isWritable(spteAt(machine, BASE))).toBe(false);
    machine.write(BASE + 1, 2);
    expect(vcpu.walker.pmlEnabled).toBe(false);
    expect(vcpu.counters[MmuCounter.pf_fast]).toBe(2);
    expect(get()).toBe('10001+2');
    expect(isWritable(spteAt(machine, BASE + 1))).toBe(false);
    // Back in its own guest, the processor logs again.
    machine.run(kvmMmuNewPgd(vcpu.kvm, vcpu.mmu, 0, false));
    machine.write(BASE + 3);
    expect(vcpu.walker.pmlEnabled).toBe(true);
    expect(get()).toBe('10003+1');
  });
});
