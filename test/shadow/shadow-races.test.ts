import { describe, expect, it } from 'vitest';
import { PageState } from '../../src/machine/page-allocator.ts';
import { type Address, StepKind, type Task } from '../../src/machine/point.ts';
import { type Pick, seededPick } from '../../src/machine/run.ts';
import type { BugSwitches } from '../../src/mmu/bug-switches.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { kvmRecoverNxHugePages } from '../../src/mmu/nx-recovery.ts';
import { hostAge, hostDontneed, hostMigratePages, hostTouch } from '../../src/vm/host-operations.ts';
import { hostMadvise, hostMprotect } from '../../src/vm/host-vma.ts';
import {
  deleteMemslot,
  getDirtyLog,
  moveMemslot,
  setMemslotFlags,
  setParameter,
  setUserMemoryRegion,
} from '../../src/vm/ioctl.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import type { GuestObserver } from '../../src/vm/vcpu.ts';
import type { VmConfig } from '../../src/vm/vm-config.ts';
import { LOG } from '../vm/vm-machine.ts';
import { inTurn, ShadowMachine, SMALL_SHADOW } from './shadow-machine.ts';

const { read, write, exec } = AccessKind;
const BASE = 0x40;
const LOOSE = { strictWakes: false };

interface Race {
  readonly config?: Partial<VmConfig>;
  readonly bugs?: BugSwitches;
  readonly observer?: GuestObserver;
  readonly flags?: number;
}

function machineFor({ config, flags, ...rest }: Race = {}): ShadowMachine {
  const machine = new ShadowMachine({ ...rest, config: { ...SMALL_SHADOW, ...config } });
  machine.slot(1, BASE, 'A', flags);
  return machine;
}

const SMALL_PAGES = { memory: [{ name: 'A', type: '4k' as const, pages: 16, populate: true }] };

/** Lets a task run on for a while before it chooses another: what long walks need to be overtaken by what is longer still. */
function inBursts(seed: number, longest: number): Pick {
  const pick = seededPick(seed);
  const upTo = (n: number): number => pick(Array.from({ length: n }, (_, i) => i));
  let task = -1;
  let left = 0;
  return (runnable) => {
    if (left-- <= 0 || !runnable.includes(task)) {
      task = runnable[upTo(runnable.length)];
      left = upTo(longest);
    }
    return runnable.indexOf(task);
  };
}

const all = (machine: ShadowMachine, vcpu: number, ...kinds: AccessKind[]): Task<void> =>
  inTurn(...kinds.map((kind) => machine.guest(vcpu, BASE, 16, kind)));

describe('zapping all pages while vCPUs fault', () => {
  it.each([
    ['huge pages', {}],
    ['small pages', SMALL_PAGES],
    ['EPT without A/D bits', { cpu: 'ept' as const, adBits: false }],
  ])('leaves nothing behind, and frees no page that is in use (%s)', (_name, config) => {
    let zapped = 0;
    for (let seed = 0; seed < 60; seed++) {
      const machine = machineFor({ config });
      const { ioctl } = machine;
      machine.together(
        [
          all(machine, 0, write, read, write, exec),
          all(machine, 1, read, write, read),
          inTurn(...[1, 0, 1, 0].map((value) => setParameter(ioctl, 'nxHugePages', value))),
        ],
        seededPick(seed),
        LOOSE,
      );
      machine.expectSound();
      zapped += machine.count(MmuCounter.shadow_zapped);
      // Every page can be had back at the end.
      if (seed % 10 === 0) {
        machine.run(deleteMemslot(ioctl, { slot: 1 }));
        machine.expectSound();
        machine.expectAllReturned(ioctl.space.heap.usedWords());
      }
    }
    expect(zapped).toBeGreaterThan(60);
  });

  it('gives the lock away after ten pages to those who wait, and goes on with what is old', () => {
    let yields = 0;
    for (let seed = 0; seed < 20; seed++) {
      const machine = machineFor({ config: { memory: [{ name: 'A', type: '4k', pages: 64, populate: true }] } });
      machine.run(machine.guest(0, BASE, 64, write));
      machine.together(
        [
          inTurn(machine.guest(0, BASE, 64, write), machine.guest(0, BASE, 64, write)),
          machine.guest(1, BASE, 64, read),
          inTurn(...[1, 0, 1].map((value) => setParameter(machine.ioctl, 'nxHugePages', value))),
        ],
        seededPick(seed),
        LOOSE,
      );
      machine.expectSound();
      yields += machine.count(MmuCounter.yields_contended);
    }
    expect(yields).toBeGreaterThan(0);
  });

  it('comes with memslots that are created, moved and deleted, whose reverse maps must then be empty', () => {
    const memory = [...SMALL_SHADOW.memory!, { name: 'B', type: '4k' as const, pages: 8 }];
    for (let seed = 0; seed < 60; seed++) {
      const machine = machineFor({ config: { memory } });
      const { ioctl, hostThread: host } = machine;
      const region = ioctl.region('B').index;
      const results: number[] = [];
      function* churn(): Task<void> {
        for (let turn = 0; turn < 2; turn++) {
          results.push(yield* setUserMemoryRegion(ioctl, { slot: 2, baseGfn: 0x80, pages: 8, region, flags: LOG }));
          yield* machine.guest(1, 0x81, 3, write);
          results.push(yield* moveMemslot(ioctl, { slot: 2 }, 0x91));
          yield* machine.guest(1, 0x92, 3, write);
          results.push(yield* deleteMemslot(ioctl, { slot: 2 }));
        }
      }
      machine.together(
        [all(machine, 0, write, write), churn(), hostDontneed(host, host.region('B'), { first: 1, pages: 4 })],
        seededPick(seed),
        LOOSE,
      );
      expect(results).toEqual([0, 0, 0, 0, 0, 0]);
      machine.expectSound();
    }
  });

  it('waits for walks without the lock, which is what keeps their tables from being freed', () => {
    /** Accesses to tables that are free. */
    const race = (bugs: BugSwitches, seed: number): number => {
      const machine = machineFor({ config: SMALL_PAGES, bugs, flags: LOG });
      const { ioctl, memory } = machine;
      const { allocator } = ioctl.kvm;
      const get = (): Task<unknown> => getDirtyLog(ioctl, { slot: 1 });
      machine.run(all(machine, 0, write));
      machine.run(get());
      let wild = 0;
      const onStep = (_task: number, kind: StepKind, a: Address): void => {
        const page = kind <= StepKind.Rmw ? allocator.pageOfTable(a) : 0;
        if (page > 0 && page < allocator.pages && allocator.stateOf(memory, page) === PageState.free) wild++;
      };
      machine.together(
        [
          all(machine, 0, write, write),
          all(machine, 1, read, write),
          inTurn(setParameter(ioctl, 'nxHugePages', 1), get(), setParameter(ioctl, 'nxHugePages', 0)),
        ],
        inBursts(seed, 600),
        { ...LOOSE, onStep },
      );
      machine.expectSound();
      return wild;
    };
    const sum = (bugs: BugSwitches): number => {
      let wild = 0;
      for (let seed = 0; seed < 60; seed++) wild += race(bugs, seed);
      return wild;
    };
    expect(sum({})).toBe(0);
    expect(sum({ 'lockless-walk-without-rcu': true })).toBeGreaterThan(0);
  });
});

describe('the host under the guest', () => {
  it('drops, migrates, collapses, ages and protects pages, and the guest keeps to frames that are its own', () => {
    for (let seed = 0; seed < 60; seed++) {
      const machine = machineFor();
      const { ioctl, hostThread: host } = machine;
      const region = host.region('A');
      const whole = { first: 0, pages: 16 };
      machine.together(
        [
          all(machine, 0, write, read, write),
          all(machine, 1, read, write),
          inTurn(
            hostDontneed(host, region, { first: 1, pages: 2 }),
            hostMigratePages(host, region, { first: 4, pages: 9 }),
            hostMadvise(host, region, { first: 0, pages: 8 }, 'collapse'),
            hostDontneed(host, region, { first: 0, pages: 8 }),
          ),
          inTurn(
            hostAge(ioctl, region, whole, 'clear_young'),
            hostMprotect(ioctl, region, { first: 6, pages: 3 }, 'read-write'),
            hostTouch(ioctl, region, whole, 'write'),
            hostDontneed(ioctl, region, { first: 3, pages: 6 }),
          ),
        ],
        seededPick(seed),
        LOOSE,
      );
      machine.expectSound();
    }
  });

  it('has its aging and write protection survive fast page faults without A/D bits', () => {
    for (let seed = 0; seed < 60; seed++) {
      const machine = machineFor({ config: { cpu: 'ept', adBits: false } });
      const { ioctl, hostThread: host } = machine;
      const region = host.region('A');
      const age = (): Task<unknown> => hostAge(host, region, { first: 0, pages: 16 }, 'clear_flush_young');
      machine.run(all(machine, 0, write));
      machine.together(
        [
          all(machine, 0, write, write),
          all(machine, 1, read, write),
          inTurn(age(), age(), age()),
          inTurn(
            setMemslotFlags(ioctl, { slot: 1 }, LOG),
            getDirtyLog(ioctl, { slot: 1 }),
            setMemslotFlags(ioctl, { slot: 1 }, 0),
          ),
        ],
        seededPick(seed),
        LOOSE,
      );
      machine.expectSound();
    }
  });

  it('is told of NX recovery, collapse and logging one upon the other', () => {
    for (let seed = 0; seed < 60; seed++) {
      const machine = machineFor({ config: { params: { nxHugePages: 1, nxHugePagesRecoveryRatio: 1 } } });
      const { ioctl, hostThread: host } = machine;
      machine.together(
        [
          all(machine, 0, exec, write, exec, read),
          all(machine, 1, read, exec, write),
          inTurn(...[LOG, 0, LOG, 0].map((flags) => setMemslotFlags(ioctl, { slot: 1 }, flags))),
          inTurn(...[1, 2, 3].map(() => kvmRecoverNxHugePages(host.kvm))),
        ],
        seededPick(seed),
        LOOSE,
      );
      machine.expectSound();
    }
  });
});

describe('logging', () => {
  /** Pages whose last write no GET reported that returned after it. */
  function lostWrites(race: Race, seed: number): number[] {
    const pending = new Set<number>();
    let logging = false;
    const observer: GuestObserver = { wrote: (_vcpu, gfn) => void (logging && pending.add(gfn)), read: () => {} };
    const machine = machineFor({ ...race, observer });
    const { ioctl } = machine;
    function* get(): Task<void> {
      const { bitmap } = yield* getDirtyLog(ioctl, { slot: 1 });
      for (let page = 0; page < 16; page++) if ((bitmap[0] & (1 << page)) !== 0) pending.delete(BASE + page);
    }
    machine.together(
      [
        all(machine, 0, write, write, write, write),
        all(machine, 1, read, write, write, write),
        (function* () {
          yield* setMemslotFlags(ioctl, { slot: 1 }, LOG);
          logging = true;
          for (let i = 0; i < 3; i++) yield* get();
        })(),
      ],
      inBursts(seed, 100),
      LOOSE,
    );
    machine.run(get());
    if (race.bugs === undefined) machine.expectSound();
    return [...pending];
  }

  it.each([
    ['write protection', {}],
    ['PML', { cpu: 'ept' as const, params: { pml: 1 }, pmlEntries: 4 }],
    ['no A/D bits', { cpu: 'ept' as const, adBits: false }],
  ])('loses no write (%s)', (_name, config) => {
    for (let seed = 0; seed < 60; seed++) expect(lostWrites({ config }, seed)).toEqual([]);
  });

  it('loses writes where GET returns without a flush', () => {
    let lost = 0;
    for (let seed = 0; seed < 100; seed++)
      lost += lostWrites({ config: SMALL_PAGES, bugs: { 'harvest-without-flush-before-return': true } }, seed).length;
    expect(lost).toBeGreaterThan(0);
  });
});
