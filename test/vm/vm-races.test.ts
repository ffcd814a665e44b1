import { describe, expect, it } from 'vitest';
import { own, type Task } from '../../src/machine/point.ts';
import { type Pick, seededPick } from '../../src/machine/run.ts';
import type { BugSwitches } from '../../src/mmu/bug-switches.ts';
import { KvmWord } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { touchPages } from '../../src/vm/guest-programs.ts';
import { dropRange, hostAge, hostDontneed, hostMigratePages, hostTouch } from '../../src/vm/host-operations.ts';
import { hostMadvise, hostMprotect } from '../../src/vm/host-vma.ts';
import { deleteMemslot, getDirtyLog, setMemslotFlags, setUserMemoryRegion } from '../../src/vm/ioctl.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import type { GuestObserver } from '../../src/vm/vcpu.ts';
import type { VmConfig } from '../../src/vm/vm-config.ts';
import { LOG, VmMachine } from './vm-machine.ts';

/** Tables of four entries: a huge page is four pages, the slot sixteen. */
const SMALL: Partial<VmConfig> = {
  vcpus: 2,
  entries: 4,
  maxGfn: 256,
  tablePages: 128,
  trackContents: true,
  maxMemslots: 4,
  memory: [{ name: 'A', type: 'thp', pages: 16, populate: true }],
};
const BASE = 0x40;

interface Race {
  readonly config?: Partial<VmConfig>;
  readonly bugs?: BugSwitches;
  readonly observer?: GuestObserver;
  /** Flags of slot 1. */
  readonly flags?: number;
}

function machineFor({ config, bugs, observer, flags }: Race): VmMachine {
  const machine = new VmMachine({ config: { ...SMALL, ...config }, bugs, observer });
  machine.slot(1, BASE, 'A', flags);
  return machine;
}

const touch = (machine: VmMachine, vcpu: number, kind: AccessKind): Task<unknown> =>
  touchPages(machine.vcpus[vcpu], { first: asGfn(BASE), count: 16, stride: 1 }, kind);

function* inTurn(...tasks: Task<unknown>[]): Task<void> {
  for (const task of tasks) yield* task;
}

const seeds = (count: number): number[] => Array.from({ length: count }, (_, seed) => seed);

/** Locks and counts as they are when nobody runs. */
function expectIdle(machine: VmMachine): void {
  for (const vm of machine.vms) expect(vm.thread.holdsNothing()).toBe(true);
  const { kvm } = machine.ioctl;
  for (const word of [KvmWord.mnActive, KvmWord.invalidateInProgress]) expect(machine.memory.load32(own(kvm.word(word)))).toBe(0);
}

describe('guests and the host under seeded schedules', () => {
  it.each(['rwlock', 'spinlock'] as const)('keep to frames that are theirs while the host changes them (%s)', (lock) => {
    for (let seed = 0; seed < 25; seed++) {
      const machine = machineFor({ config: { lock } });
      const { ioctl, hostThread: host } = machine;
      const region = host.region('A');
      const all = { first: 0, pages: 16 };
      machine.together(
        [
          inTurn(touch(machine, 0, AccessKind.write), touch(machine, 0, AccessKind.read), touch(machine, 0, AccessKind.write)),
          inTurn(touch(machine, 1, AccessKind.read), touch(machine, 1, AccessKind.write)),
          inTurn(
            hostDontneed(host, region, { first: 1, pages: 2 }),
            hostMigratePages(host, region, { first: 4, pages: 9 }),
            hostMadvise(host, region, { first: 0, pages: 8 }, 'collapse'),
            hostDontneed(host, region, { first: 0, pages: 8 }),
          ),
          inTurn(
            hostAge(ioctl, region, all, 'clear_young'),
            hostMprotect(ioctl, region, { first: 6, pages: 3 }, 'read-write'),
            hostTouch(ioctl, region, all, 'write'),
            hostDontneed(ioctl, region, { first: 3, pages: 6 }),
          ),
        ],
        seededPick(seed),
        { strictWakes: false },
      );
      expectIdle(machine);
    }
  });

  it('are caught by the versions of frames where the host forgets the notifier', () => {
    const races = (seed: number): void => {
      const machine = machineFor({});
      const { hostThread: host } = machine;
      const region = host.region('A');
      machine.run(touch(machine, 0, AccessKind.write));
      // A host that forgets to tell KVM: the guest goes on with frames that are no longer its own.
      const drop = dropRange(host, region, { region: region.index, first: 4, end: 8 });
      machine.together([touch(machine, 0, AccessKind.write), drop], seededPick(seed), { strictWakes: false });
    };
    expect(() => {
      for (let seed = 0; seed < 20; seed++) races(seed);
    }).toThrow(expect.objectContaining({ rule: 'freed-frame' }));
  });
});

/** A schedule that goes on with the same task 31 times out of 32. */
function inBursts(seed: number): Pick {
  const toss = seededPick(seed);
  const choose = seededPick(seed + 1);
  const tosses = Array.from({ length: 32 }, (_, i) => i);
  let last = -1;
  return (runnable) => {
    const at = runnable.indexOf(last);
    const index = at >= 0 && toss(tosses) !== 0 ? at : choose(runnable);
    last = runnable[index];
    return index;
  };
}

describe('logging under seeded schedules', () => {
  /** Pages whose last write no GET reported that returned after it. */
  function lostWrites(race: Race, seed: number, pick: Pick = seededPick(seed)): number[] {
    const pending = new Set<number>();
    let logging = false;
    const observer: GuestObserver = { wrote: (_vcpu, gfn) => void (logging && pending.add(gfn)), read: () => {} };
    const machine = machineFor({ ...race, observer });
    const { ioctl } = machine;
    const { read, write } = AccessKind;
    function* get(): Task<void> {
      const { bitmap } = yield* getDirtyLog(ioctl, { slot: 1 });
      for (let page = 0; page < 16; page++) if ((bitmap[0] & (1 << page)) !== 0) pending.delete(BASE + page);
    }
    machine.together(
      [
        inTurn(...[write, write, write, write].map((kind) => touch(machine, 0, kind))),
        inTurn(...[read, write, write, write].map((kind) => touch(machine, 1, kind))),
        (function* () {
          yield* setMemslotFlags(ioctl, { slot: 1 }, LOG);
          logging = true;
          yield* get();
          yield* get();
          yield* get();
        })(),
      ],
      pick,
      { strictWakes: false },
    );
    machine.run(get());
    expectIdle(machine);
    return [...pending];
  }

  it.each([
    ['write protection, split eagerly', {}],
    ['write protection, split by faults', { params: { eagerPageSplit: 0 } }],
    ['PML', { cpu: 'ept', params: { pml: 1 }, pmlEntries: 4 }],
    ['6.1', { kernel: '6.1' }],
  ] as const)('loses no write (%s)', (_name, config) => {
    for (let seed = 0; seed < 40; seed++) expect(lostWrites({ config }, seed)).toEqual([]);
  });

  it('loses writes where the protection is done before faults with the old slot are over', () => {
    const race: Race = { bugs: { 'enable-logging-without-srcu-sync': true }, config: { params: { eagerPageSplit: 0 } } };
    // The whole enabling has to fit between two steps of one fault: a scheduler that runs a thread on for a while gets there.
    expect(seeds(400).some((seed) => lostWrites(race, seed, inBursts(seed)).length > 0)).toBe(true);
  });

  it('loses writes where GET returns without a flush', () => {
    const race: Race = { bugs: { 'harvest-without-flush-before-return': true } };
    expect(seeds(100).some((seed) => lostWrites(race, seed).length > 0)).toBe(true);
  });
});

describe('memslots under seeded schedules', () => {
  it('come and go under vCPUs that use other slots', () => {
    const memory = [...SMALL.memory!, { name: 'B', type: '4k' as const, pages: 8 }];
    for (let seed = 0; seed < 40; seed++) {
      const machine = machineFor({ config: { memory } });
      const { ioctl, hostThread: host } = machine;
      const region = ioctl.region('B').index;
      const results: number[] = [];
      function* churn(): Task<void> {
        for (let turn = 0; turn < 2; turn++) {
          results.push(yield* setUserMemoryRegion(ioctl, { slot: 2, baseGfn: 0x80, pages: 8, region, flags: LOG }));
          yield* touchPages(machine.vcpus[1], { first: asGfn(0x81), count: 3, stride: 1 }, AccessKind.write);
          results.push(yield* deleteMemslot(ioctl, { slot: 2 }));
        }
      }
      machine.together(
        [
          inTurn(touch(machine, 0, AccessKind.write), touch(machine, 0, AccessKind.write)),
          churn(),
          hostDontneed(host, host.region('A'), { first: 2, pages: 3 }),
        ],
        seededPick(seed),
        { strictWakes: false },
      );
      expect(results).toEqual([0, 0, 0, 0]);
      expectIdle(machine);
    }
  });
});
