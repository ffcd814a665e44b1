import { describe, expect, it } from 'vitest';
import { mutexLock, mutexUnlock } from '../../src/machine/mutex.ts';
import { PageState, PageWord } from '../../src/machine/page-allocator.ts';
import { type Address, own, type Task } from '../../src/machine/point.ts';
import { runTogether, seededPick } from '../../src/machine/run.ts';
import { makeAllVcpusRequest, Request, VcpuMode } from '../../src/machine/tlb-shootdown.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { kvmFlushRemoteTlbs } from '../../src/mmu/flush.ts';
import { mmuInvalidateBegin, mmuInvalidateEnd, mmuInvalidateRangeAdd } from '../../src/mmu/invalidate.ts';
import { type Kvm, KvmWord } from '../../src/mmu/kvm.ts';
import { asGfn, asPfn } from '../../src/mmu/level.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { mmuWriteLock, mmuWriteUnlock } from '../../src/mmu/mmu-lock.ts';
import { PfErr } from '../../src/mmu/page-fault-info.ts';
import { kvmWriteTrackAddGfn } from '../../src/mmu/page-track.ts';
import { Site } from '../../src/mmu/site.ts';
import { kvmMmuZapAllFast } from '../../src/mmu/zap-all.ts';
import { kvmTdpMmuUnmapGfnRange } from '../../src/mmu/zap-leafs.ts';
import { FREE_FRAME } from '../../src/vm/frames.ts';
import { guestAccess } from '../../src/vm/guest.ts';
import { touchPages } from '../../src/vm/guest-programs.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { pmlGfns } from '../../src/vm/pml.ts';
import { GuestResult, type Vcpu, type VcpuOptions } from '../../src/vm/vcpu.ts';
import { VcpuCounter, type VcpuCounterName } from '../../src/vm/vcpu-counters.ts';
import { VcpuWord } from '../../src/vm/vcpu-layout.ts';
import { vcpuDestroy } from '../../src/vm/vcpu-run.ts';
import { FRAMES, slotOf, VcpuMachine, type VcpuMachineOptions } from './vcpu-machine.ts';

const { present, write, user, fetch, reserved } = PfErr;
const SCRIPT: Partial<VcpuOptions> = { codeGfn: asGfn(0) };

/** A machine as the recorded scripts have it: the guest's code in a slot of its own, and 512 pages from 0x400 on. */
function scriptMachine(options: VcpuMachineOptions = {}): { machine: VcpuMachine; vcpu: Vcpu } {
  const machine = new VcpuMachine({ slots: [slotOf(0, 1), slotOf(0x400, 512)], vcpu: SCRIPT, ...options });
  return { machine, vcpu: machine.vcpu() };
}

function touch(machine: VcpuMachine, vcpu: Vcpu, first: number, count: number, kind: AccessKind): GuestResult {
  return machine.run(touchPages(vcpu, { first: asGfn(first), count, stride: 1 }, kind));
}

const NAMES = ['pf_taken', 'pf_fixed', 'pf_emulate', 'tlb_flush', 'exits', 'io_exits', 'mmio_exits', 'insn_emulation'] as const;

/** What `body` adds to the counters of the recordings, without those that it leaves alone. */
function delta(vcpu: Vcpu, body: () => void): Record<string, number> {
  const at = (name: string): number => {
    return vcpu.counters[name in MmuCounter ? MmuCounter[name as keyof typeof MmuCounter] : VcpuCounter[name as VcpuCounterName]];
  };
  const before = NAMES.map(at);
  body();
  return Object.fromEntries(NAMES.map((name, i) => [name, at(name) - before[i]] as const).filter(([, n]) => n !== 0));
}

describe('a run of a script guest counts what the recorded kernel counted', () => {
  it('for first writes, repeated writes and a new root', () => {
    const { machine, vcpu } = scriptMachine();
    const first = delta(vcpu, () => touch(machine, vcpu, 0x400, 4, AccessKind.write));
    expect(first).toEqual({ pf_taken: 5, pf_fixed: 5, tlb_flush: 1, exits: 6, io_exits: 1 });
    expect(machine.seen('pageFault')).toEqual([
      ['pageFault', 0, 0, user | fetch],
      ...[0, 1, 2, 3].map((i) => ['pageFault', 0, 0x400 + i, user | write]),
    ]);
    expect(delta(vcpu, () => touch(machine, vcpu, 0x400, 4, AccessKind.write))).toEqual({ exits: 1, io_exits: 1 });
    expect(delta(vcpu, () => touch(machine, vcpu, 0x404, 4, AccessKind.read))).toEqual({
      pf_taken: 4,
      pf_fixed: 4,
      exits: 5,
      io_exits: 1,
    });
    machine.run(zapAll(machine.ioctl));
    const afterZap = delta(vcpu, () => touch(machine, vcpu, 0x400, 1, AccessKind.write));
    expect(afterZap).toEqual({ pf_taken: 2, pf_fixed: 2, exits: 3, io_exits: 1 });
  });

  it('for MMIO, first and cached', () => {
    const { machine, vcpu } = scriptMachine();
    touch(machine, vcpu, 0x400, 1, AccessKind.write);
    expect(delta(vcpu, () => touch(machine, vcpu, 0x600, 2, AccessKind.read))).toEqual({
      pf_taken: 2,
      pf_emulate: 2,
      exits: 3,
      io_exits: 1,
      mmio_exits: 2,
      insn_emulation: 2,
    });
    machine.events.length = 0;
    const cached = delta(vcpu, () => touch(machine, vcpu, 0x600, 1, AccessKind.read));
    expect(cached).toEqual({ exits: 2, io_exits: 1, mmio_exits: 1, insn_emulation: 1 });
    expect(machine.seen('pageFault', 'mmio')).toEqual([
      ['pageFault', 0, 0x600, user | reserved],
      ['mmio', 0, 0x600, false],
    ]);
  });

  it('for code where there is no memory: nothing but the failed run', () => {
    const { machine, vcpu } = scriptMachine();
    touch(machine, vcpu, 0x400, 1, AccessKind.write);
    const counted = delta(vcpu, () => expect(touch(machine, vcpu, 0x600, 1, AccessKind.exec)).toBe(GuestResult.fault));
    expect(counted).toMatchObject({ pf_emulate: 1, exits: 1 });
    expect(counted.mmio_exits).toBeUndefined();
  });

  it('for writes to a read-only slot', () => {
    const { machine, vcpu } = scriptMachine({ slots: [slotOf(0, 1), slotOf(0x400, 512, SlotFlag.readonly)] });
    touch(machine, vcpu, 0x400, 2, AccessKind.read);
    const counted = delta(vcpu, () => expect(touch(machine, vcpu, 0x401, 2, AccessKind.write)).toBe(GuestResult.done));
    expect(counted).toEqual({ pf_taken: 2, pf_emulate: 2, exits: 3, io_exits: 1, mmio_exits: 2, insn_emulation: 2 });
    expect([1, 2].map((i) => machine.version(0x400 + i))).toEqual([0, 0]);
  });

  it('for a page that the host does not let anybody write', () => {
    const { machine, vcpu } = scriptMachine();
    machine.hostWritable = false;
    touch(machine, vcpu, 0x404, 2, AccessKind.read);
    machine.events.length = 0;
    const counted = delta(vcpu, () => expect(touch(machine, vcpu, 0x404, 1, AccessKind.write)).toBe(GuestResult.fault));
    expect(counted).toEqual({ pf_taken: 1, exits: 1 });
    expect(machine.seen('pageFault')).toEqual([['pageFault', 0, 0x404, present | write | user]]);
    expect(machine.memory.load32(own(vcpu.area.word(VcpuWord.faultGfn)))).toBe(0x404);
  });

  it('with the code fetched again when the root changes in the middle of a run', () => {
    const { machine, vcpu } = scriptMachine();
    machine.run(guestAccess(vcpu, asGfn(0x400), AccessKind.write));
    expect(vcpu.inGuest).toBe(true);
    machine.events.length = 0;
    // The zap waits until the vCPU has left the guest, so the two must run together.
    runTogether<unknown>(machine.memory, [zapAll(machine.ioctl), guestTurns(vcpu, 200)]);
    expect(machine.seen('pageFault').map(([, , gfn]) => gfn)).toEqual([0, 0x400]);
    expect(vcpu.counters[VcpuCounter.interrupt_exits]).toBe(1);
    expect(vcpu.counters[VcpuCounter.tlb_flush_root]).toBe(2);
  });
});

function* zapAll(kvm: Kvm): Task<void> {
  yield* mutexLock(kvm.slotsLock, kvm.thread, Site.user);
  yield* kvmMmuZapAllFast(kvm);
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
}

/** Writes one page again and again. */
function* guestTurns(vcpu: Vcpu, turns: number): Task<void> {
  for (let i = 0; i < turns; i++) yield* guestAccess(vcpu, asGfn(0x400), AccessKind.write);
}

/** Replaces the host page of `gfn` by frame `frame`, as the MMU notifier would tell KVM; returns the old frame's version. */
function* move(machine: VcpuMachine, gfn: number, frame: number, flush: boolean): Task<number> {
  const { ioctl: kvm } = machine;
  yield* mmuWriteLock(kvm, Site.user);
  yield* mmuInvalidateBegin(kvm);
  yield* mmuInvalidateRangeAdd(kvm, asGfn(gfn), asGfn(gfn + 1));
  const owed = yield* kvmTdpMmuUnmapGfnRange(kvm, 0, asGfn(gfn), asGfn(gfn + 1), false, false);
  if (flush && owed) yield* kvmFlushRemoteTlbs(kvm);
  yield* mmuWriteUnlock(kvm);
  machine.moved.set(gfn, asPfn(FRAMES + frame));
  const version = machine.version(gfn);
  yield* mmuWriteLock(kvm, Site.user);
  yield* mmuInvalidateEnd(kvm);
  yield* mmuWriteUnlock(kvm);
  return version;
}

describe('a stale translation', () => {
  function raceWithMove(seed: number, flush: boolean): { before: number; after: number; total: number } {
    const machine = new VcpuMachine();
    const vcpu = machine.vcpu();
    machine.run(guestTurns(vcpu, 1));
    const tasks: Task<unknown>[] = [guestTurns(vcpu, 39), move(machine, 0x400, 0x800, flush)];
    const [, before] = runTogether(machine.memory, tasks, seededPick(seed)) as number[];
    return { before, after: machine.version(0x400), total: machine.version(0x400) + machine.version(0x800) };
  }

  it('is not used after the flush, and every write reaches a frame', () => {
    let moved = 0;
    for (let seed = 0; seed < 60; seed++) {
      const { before, after, total } = raceWithMove(seed, true);
      expect([seed, after, total]).toEqual([seed, before, 40]);
      if (before > 1 && before < 40) moved++;
    }
    // The schedules must put the move into the middle of the writes now and then.
    expect(moved).toBeGreaterThan(5);
  });

  it('writes to the old frame where nobody flushes', () => {
    let hurt = 0;
    for (let seed = 0; seed < 60; seed++) {
      const { before, after } = raceWithMove(seed, false);
      if (after > before) hurt++;
    }
    expect(hurt).toBeGreaterThan(5);
  });
});

describe('a frame that the host has taken back', () => {
  it.each([
    ['read', AccessKind.read],
    ['write', AccessKind.write],
  ])('is noticed by a %s', (_name, kind) => {
    const machine = new VcpuMachine();
    const vcpu = machine.vcpu();
    touch(machine, vcpu, 0x400, 1, AccessKind.write);
    machine.memory.store32(own(machine.contentWord(asPfn(FRAMES + 0x400))), FREE_FRAME);
    expect(() => touch(machine, vcpu, 0x400, 1, kind)).toThrow('vCPU 0 accesses frame 0x100400 as gfn 0x400');
  });
});

describe('requests', () => {
  it('flush when the vCPU next enters, once for many', () => {
    const { machine, vcpu } = scriptMachine();
    touch(machine, vcpu, 0x400, 1, AccessKind.write);
    for (let i = 0; i < 3; i++) machine.run(kvmFlushRemoteTlbs(machine.ioctl));
    const counted = delta(vcpu, () => touch(machine, vcpu, 0x400, 1, AccessKind.read));
    expect(counted).toEqual({ tlb_flush: 1, exits: 1, io_exits: 1 });
  });

  it('end the run of a dead VM', () => {
    const { machine, vcpu } = scriptMachine();
    machine.run(makeAllVcpusRequest(machine.ioctl.requests, machine.ioctl.thread, Request.vmDead, { wait: false }));
    expect(touch(machine, vcpu, 0x400, 1, AccessKind.write)).toBe(GuestResult.dead);
    expect(machine.memory.load32(own(vcpu.requests.mode(0)))).toBe(VcpuMode.outsideGuest);
  });
});

describe('vCPUs that fault in the same pages', () => {
  it.each(['rwlock', 'spinlock'] as const)('all get them, and no write is lost, under a %s', (lock) => {
    for (let seed = 0; seed < 20; seed++) {
      const machine = new VcpuMachine({ config: { entries: 8, lock, tablePages: 128 }, area: { tlbEntries: 4 } });
      const vcpus = [machine.vcpu(0), machine.vcpu(1)];
      const row = { first: asGfn(0x40), count: 12, stride: 3 };
      const tasks = vcpus.map((vcpu) => touchPages(vcpu, row, AccessKind.write));
      const results = runTogether(machine.memory, tasks, seededPick(seed));
      const versions = Array.from({ length: 12 }, (_, i) => machine.version(0x40 + 3 * i));
      expect([seed, results, versions]).toEqual([seed, [0, 0], versions.map(() => 2)]);
      expect(vcpus[0].mmu.root).toBe(vcpus[1].mmu.root);
    }
  });
});

describe('page-modification logging', () => {
  it('marks every page that the guest wrote, through as many full logs as it takes', () => {
    const machine = new VcpuMachine({ config: { cpu: 'ept' }, slots: [] });
    const slot = { ...slotOf(0x400, 64, SlotFlag.logDirty), dirtyBitmap: machine.bitmap, bitmapWords: 2 };
    machine.slots = [slotOf(0x400, 64)];
    const vcpu = machine.vcpu();
    touch(machine, vcpu, 0x400, 64, AccessKind.write);
    // As enabling the log does it: the slot logs, D is clear everywhere, translations are gone.
    machine.slots = [slot];
    for (let i = 0; i < 64; i++) {
      const sptep = machine.sptep(vcpu.mmu.root, 0x400 + i, 1);
      machine.memory.and32(own(sptep), ~vcpu.walker.dirty);
    }
    machine.kvms[0].params.set('pml', 1);
    machine.memory.store32(own(machine.kvms[0].word(KvmWord.dirtyLogging)), 1);
    machine.run(kvmFlushRemoteTlbs(machine.ioctl));

    const row = { first: asGfn(0x400), count: 21, stride: 3 };
    expect(machine.run(touchPages(vcpu, row, AccessKind.write))).toBe(GuestResult.done);
    const bits = [0, 1].map((i) => machine.memory.load32(own((machine.bitmap + i) as Address)) >>> 0);
    expect(bits).toEqual([0x49249249, 0x12492492]);
    expect(vcpu.counters[VcpuCounter.pml_full_exits]).toBe(2);
    expect(vcpu.counters[MmuCounter.pf_fast]).toBe(0);
    expect(pmlGfns(machine.memory, vcpu.area)).toEqual([]);
  });
});

describe('a write-tracked page', () => {
  it('is written by KVM in the stead of the guest, and stays protected', () => {
    const machine = new VcpuMachine();
    const vcpu = machine.vcpu();
    touch(machine, vcpu, 0x400, 2, AccessKind.write);
    machine.run(kvmWriteTrackAddGfn(machine.ioctl, machine.slots[0], asGfn(0x400)));
    const counted = delta(vcpu, () => expect(touch(machine, vcpu, 0x400, 2, AccessKind.write)).toBe(GuestResult.done));
    expect(counted).toMatchObject({ pf_taken: 1, exits: 2, insn_emulation: 1 });
    expect(counted.mmio_exits).toBeUndefined();
    expect([machine.version(0x400), machine.version(0x401)]).toEqual([2, 2]);
    expect(machine.spte(vcpu.mmu.root, 0x400) & 2n).toBe(0n);
  });
});

describe('a full dirty ring', () => {
  it('sends the vCPU to user space before it enters, and ends the run only if that says so', () => {
    let full = 0;
    let goOn = true;
    const dirtyRing = {
      *softFull(): Task<boolean> {
        return full > 0;
      },
      *exitToUser(): Task<boolean> {
        full--;
        return goOn;
      },
    };
    const machine = new VcpuMachine({ vcpu: { dirtyRing } });
    const vcpu = machine.vcpu();
    full = 2;
    expect(touch(machine, vcpu, 0x400, 1, AccessKind.write)).toBe(GuestResult.done);
    expect(vcpu.counters[VcpuCounter.dirty_ring_exits]).toBe(2);
    full = 1;
    goOn = false;
    expect(touch(machine, vcpu, 0x400, 1, AccessKind.write)).toBe(GuestResult.dirtyRingFull);
    expect(machine.version(0x400)).toBe(1);
  });
});

describe('the life of a vCPU', () => {
  it('ends with its root given back and its root word clear', () => {
    const machine = new VcpuMachine();
    const vcpu = machine.vcpu();
    machine.run(guestAccess(vcpu, asGfn(0x400), AccessKind.write));
    const { root } = vcpu.mmu;
    const word = vcpu.area.word(VcpuWord.root);
    expect(machine.memory.load32(own(word))).toBe(root);
    machine.run(vcpuDestroy(vcpu));
    expect([vcpu.mmu.root, vcpu.inGuest, machine.memory.load32(own(word))]).toEqual([0, false, 0]);
    const state = machine.memory.load32(own(machine.kvms[0].allocator.word(root, PageWord.state)));
    expect(state).toBe(PageState.live);
    expect(machine.memory.load32(own(vcpu.requests.mode(0)))).toBe(VcpuMode.outsideGuest);
  });

  it('begins without what an earlier user of its area left behind', () => {
    const machine = new VcpuMachine();
    const vcpu = machine.vcpu();
    touch(machine, vcpu, 0x400, 3, AccessKind.write);
    const again = machine.vcpu();
    again.mmu.onLoadRoot(vcpu.mmu.root);
    expect(again.tlb.find(asGfn(0x400), 1)).toBe(0);
    expect(again.pwc.find(asGfn(0x400))).toBe(0);
  });

  it('with a flush at each entry walks again and sets A again', () => {
    const machine = new VcpuMachine({ vcpu: { flushOnEntry: true } });
    const vcpu = machine.vcpu();
    touch(machine, vcpu, 0x400, 1, AccessKind.write);
    const sptep = machine.sptep(vcpu.mmu.root, 0x400, 1);
    machine.memory.and32(own(sptep), ~vcpu.walker.accessed);
    touch(machine, vcpu, 0x400, 1, AccessKind.read);
    expect(machine.memory.load32(own(sptep)) & vcpu.walker.accessed).not.toBe(0);
  });
});
