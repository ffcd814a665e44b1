import { describe, expect, it } from 'vitest';
import { mutexLock, mutexUnlock } from '../../src/machine/mutex.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { collectDirtyRing, kvmDirtyRingSoftFull, kvmResetDirtyRings } from '../../src/mmu/dirty-ring.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { isWritable } from '../../src/mmu/spte.ts';
import { touchPages } from '../../src/vm/guest-programs.ts';
import { deleteMemslot, getDirtyLog, setMemslotFlags } from '../../src/vm/ioctl.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { GuestResult, Vcpu } from '../../src/vm/vcpu.ts';
import { VcpuArea } from '../../src/vm/vcpu-layout.ts';
import { BASE, LOG, spteAt, VmMachine } from './vm-machine.ts';

const ENTRIES = 256;

function machineWithRing(params: Record<string, number> = {}, config: Record<string, unknown> = {}) {
  const memory = [{ name: 'A', type: '4k' as const, pages: 512, populate: true }];
  const machine = new VmMachine({
    config: { memory, vcpus: 2, dirtyRingEntries: ENTRIES, params: { dirtyRingSize: ENTRIES, ...params }, ...config },
  });
  machine.slot(1, BASE, 'A');
  const { kvm } = machine.ioctl;
  return {
    machine,
    kvm,
    log: () => machine.run(setMemslotFlags(machine.ioctl, { slot: 1 }, LOG)),
    collect: (vcpu = 0) => machine.run(collectDirtyRing(kvm, vcpu)).map(({ offset }) => offset),
    reset: () => {
      machine.run(mutexLock(kvm.slotsLock, kvm.thread, 0));
      const taken = machine.run(kvmResetDirtyRings(kvm));
      machine.run(mutexUnlock(kvm.slotsLock, kvm.thread));
      return taken;
    },
  };
}

describe('dirty rings', () => {
  it('take an entry for each page whose write faults, in order, by the slow path and the fast one', () => {
    const { machine, log, collect } = machineWithRing();
    machine.write(BASE, 2);
    log();
    machine.write(BASE + 7);
    machine.write(BASE + 1);
    machine.write(BASE + 1);
    expect(machine.vcpus[0].counters[MmuCounter.pf_fast]).toBe(1);
    expect(collect()).toEqual([7, 1]);
    expect(collect()).toEqual([]);
  });

  it('belong to the vCPU that wrote', () => {
    const { machine, log, collect } = machineWithRing();
    log();
    machine.write(BASE);
    const row = { first: asGfn(BASE + 3), count: 2, stride: 1 };
    expect(machine.run(touchPages(machine.vcpus[1], row, AccessKind.write))).toBe(GuestResult.done);
    expect([collect(0), collect(1)]).toEqual([[0], [3, 4]]);
  });

  it('give harvested entries back on reset, which protects the pages and flushes once for all', () => {
    const { machine, log, collect, reset, kvm } = machineWithRing();
    log();
    machine.write(BASE, 70);
    expect(reset()).toBe(0);
    expect(collect().length).toBe(70);
    const heard = machine.heardWhile(() => expect(reset()).toBe(70));
    // 64 pages at most in one go: two holds of mmu_lock, one flush.
    expect(heard.filter((line) => line.startsWith('clear_dirty_pt_masked'))).toEqual([
      'clear_dirty_pt_masked 10000 ffffffffffffffff',
      'clear_dirty_pt_masked 10040 3f',
    ]);
    expect(heard.filter((line) => line === 'write lock').length).toBe(2);
    expect(heard.filter((line) => line === 'flush_all')).toEqual(['flush_all']);
    expect(isWritable(spteAt(machine, BASE))).toBe(false);
    machine.write(BASE);
    expect(collect()).toEqual([0]);
    expect(kvm.counters[MmuCounter.write_protected]).toBe(70);
  });

  it('join pages that lie backwards, too', () => {
    const { machine, log, collect, reset } = machineWithRing();
    log();
    for (const page of [9, 7, 8]) machine.write(BASE + page);
    collect();
    const heard = machine.heardWhile(() => reset());
    expect(heard.filter((line) => line.startsWith('clear_dirty_pt_masked'))).toEqual(['clear_dirty_pt_masked 10007 7']);
  });

  it('forget the pages of a slot that is gone', () => {
    const { machine, log, collect, reset } = machineWithRing();
    log();
    machine.write(BASE, 3);
    collect();
    machine.run(deleteMemslot(machine.ioctl, { slot: 1 }));
    expect(machine.heardWhile(() => expect(reset()).toBe(3)).filter((line) => line === 'write lock')).toEqual([]);
  });

  it('take the place of the bitmap: GET is refused', () => {
    const { machine, log } = machineWithRing();
    log();
    expect(machine.run(getDirtyLog(machine.ioctl, { slot: 1 })).result).toBeLessThan(0);
  });

  it('send the vCPU to user space with 64 entries to spare, and it goes on when they were taken', () => {
    const { machine, log, collect, reset, kvm } = machineWithRing();
    log();
    let exits = 0;
    const dirtyRing = {
      softFull: (id: number) => kvmDirtyRingSoftFull(machine.vms[0].kvm, id),
      *exitToUser() {
        exits++;
        yield* collectDirtyRing(kvm, 0);
        yield* mutexLock(kvm.slotsLock, kvm.thread, 0);
        yield* kvmResetDirtyRings(kvm);
        yield* mutexUnlock(kvm.slotsLock, kvm.thread);
        return true;
      },
    };
    const [vm] = machine.vms;
    const vcpu = new Vcpu({
      kvm: vm.kvm,
      id: 0,
      area: new VcpuArea(vm.vcpuArea(0), vm.config),
      contentWord: vm.contentWord,
      dirtyRing,
    });
    const row = { first: asGfn(BASE), count: 450, stride: 1 };
    expect(machine.run(touchPages(vcpu, row, AccessKind.write))).toBe(GuestResult.done);
    expect(exits).toBe(2);
    // The page whose fault filled the ring is protected again before it is written: one entry more for each exit.
    const rest = 450 - 2 * (ENTRIES - 64) + exits;
    expect([collect().length, reset()]).toEqual([rest, rest]);
  });

  it('keep room for a whole page-modification log', () => {
    const { machine, log, collect, kvm } = machineWithRing({ pml: 1 }, { cpu: 'ept', pmlEntries: 32 });
    machine.write(BASE, 200);
    log();
    const full = () => machine.run(kvmDirtyRingSoftFull(kvm, 0, 32));
    machine.write(BASE, 159);
    expect(full()).toBe(false);
    machine.write(BASE + 159);
    expect(full()).toBe(true);
    expect(collect().length).toBe(160);
  });
});
