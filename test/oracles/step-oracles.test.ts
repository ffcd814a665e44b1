/** Step oracles hold over concurrent operations of a healthy MMU, and each catches the bug that it is there for. */
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../src/machine/invariant.ts';
import { own, relax, rmw, type Task, write } from '../../src/machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../../src/machine/rcu.ts';
import { Word64 } from '../../src/machine/word64.ts';
import type { BugSwitches } from '../../src/mmu/bug-switches.ts';
import { kvmFlushRemoteTlbs } from '../../src/mmu/flush.ts';
import type { KernelName } from '../../src/mmu/generation.ts';
import { KvmWord } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { mmuReadLock, mmuReadUnlock } from '../../src/mmu/mmu-lock.ts';
import { kvmRecoverNxHugePages } from '../../src/mmu/nx-recovery.ts';
import { kvmWriteTrackAddGfn } from '../../src/mmu/page-track.ts';
import { nextRoot, RootTypes } from '../../src/mmu/roots.ts';
import { kvmZapGfnRange } from '../../src/mmu/zap-leafs.ts';
import { stepOracles } from '../../src/oracles/steps/index.ts';
import { clearDirtyLog, getDirtyLog } from '../../src/vm/dirty-log.ts';
import { hostAge, hostDontneed, hostMigratePages } from '../../src/vm/host-operations.ts';
import { invalidateRangeEnd, invalidateRangeStart } from '../../src/vm/mmu-notifier.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { setUserMemoryRegion } from '../../src/vm/set-memory-region.ts';
import type { Vm } from '../../src/vm/vm.ts';
import type { VmConfig } from '../../src/vm/vm-config.ts';
import { RAM, VmMachine, type VmMachineOptions } from './vm-machine.ts';

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
  ['ept without A/D bits', { cpu: 'ept', adBits: false }],
  ['ept with PML', { cpu: 'ept', params: { pml: 1 } }],
  ['an initially set log', { params: { manualProtect: 3 } }],
  ['nx_huge_pages', { params: { nxHugePages: 1, nxHugePagesRecoveryRatio: 1 } }],
  ['a spinlock', { lock: 'spinlock' }],
  ...(['5.15', '5.18', '6.1', '6.13'] as KernelName[]).map((kernel) => [`kernel ${kernel}`, { kernel }] as const),
];

describe('step oracles hold', () => {
  it.each(FLAVOURS)('over logging, host changes and NX recovery: %s', (_name, config) => {
    for (let seed = 0; seed < 10; seed++) {
      const m = new VmMachine({ config, needResched: () => seed % 2 === 0, watch: stepOracles() });
      m.run(m.guest(0, [0, 20, 40]));
      m.watched(
        seed,
        [0, m.guest(0, [0, 1, 5, 17, 1, 0])],
        [1, m.guest(1, [2, 3, 16, 40], seed % 4 === 1 ? AccessKind.exec : AccessKind.write)],
        [2, logAndHarvest(m.ioctl)],
        [3, hostStorm(m.host)],
        [4, kvmRecoverNxHugePages(m.other.kvm)],
      );
      expect(m.violations(), `seed ${seed}`).toEqual([]);
    }
  });

  it.each(FLAVOURS)('over the end of logging, a move and a deletion: %s', (_name, config) => {
    for (let seed = 0; seed < 10; seed++) {
      const m = new VmMachine({ config, needResched: () => seed % 3 === 0, slots: [logged], watch: stepOracles() });
      m.run(m.guest(0, [0, 5, 20, 40]));
      const guests = (): (readonly [number, Task<unknown>])[] => [
        [0, m.guest(0, [0, 1, 65, 17])],
        [1, m.guest(1, [2, 3, 16, 40], AccessKind.read)],
      ];
      m.watched(seed, ...guests(), [2, setUserMemoryRegion(m.ioctl, RAM)], [3, hostStorm(m.host)]);
      m.watched(seed, ...guests(), [2, setUserMemoryRegion(m.ioctl, { ...RAM, baseGfn: 64 })]);
      m.watched(seed, ...guests(), [2, setUserMemoryRegion(m.ioctl, { ...RAM, pages: 0 })]);
      expect(m.violations(), `seed ${seed}`).toEqual([]);
    }
  });
});

type Tasks = (m: VmMachine) => readonly (readonly [number, Task<unknown>])[];

/** A bug, the oracle and the rule that catch it, where it can show, what is there before, and what runs. */
interface Catch {
  readonly bug: string;
  readonly oracle: string;
  readonly rule: string;
  readonly options?: VmMachineOptions;
  readonly before?: (m: VmMachine) => Task<unknown>;
  readonly tasks: Tasks;
}

const mappedBoth = (m: VmMachine): Task<unknown> => m.guest(0, [0, 1, 17, 20]);

const CATCHES: readonly Catch[] = [
  {
    bug: 'lockless-walk-without-rcu',
    oracle: 'table-access',
    rule: 'table-without-rcu',
    options: { slots: [logged] },
    before: mappedBoth,
    tasks: (m) => [
      [0, m.guest(0, [0])],
      [2, getDirtyLog(m.ioctl, { slot: 0 })],
      [1, m.guest(1, [0, 1])],
    ],
  },
  {
    bug: 'pt-freed-without-rcu',
    oracle: 'table-access',
    rule: 'use-after-free',
    options: { slots: [logged] },
    before: writtenAndHarvested,
    tasks: (m) => [
      [0, m.guest(0, [0, 1, 17])],
      [1, m.guest(1, [20, 0, 17])],
      [2, setUserMemoryRegion(m.ioctl, { ...RAM, pages: 0 })],
    ],
  },
  {
    bug: 'nonatomic-write-loses-w-or-d',
    oracle: 'spte-rights',
    rule: 'plain-store-volatile',
    options: { slots: [logged] },
    before: writtenAndHarvested,
    tasks: (m) => [[3, hostDontneed(m.host, m.host.region('ram'), { first: 0, pages: 4 })]],
  },
  {
    bug: 'mmu-writable-cleared-without-flush',
    oracle: 'flush-debt',
    rule: 'flush-owed',
    options: { slots: [logged] },
    before: writtenAndHarvested,
    tasks: (m) => [[2, kvmWriteTrackAddGfn(m.ioctl.kvm, slotOf(m), asGfn(0))]],
  },
  {
    bug: 'harvest-without-flush-before-return',
    oracle: 'flush-debt',
    rule: 'flush-owed',
    options: { slots: [logged] },
    before: mappedBoth,
    tasks: (m) => [[2, getDirtyLog(m.ioctl, { slot: 0 })]],
  },
  {
    bug: 'nx-recovery-yield-loses-flush',
    oracle: 'flush-debt',
    rule: 'flush-owed',
    options: { config: { params: { nxHugePages: 1, nxHugePagesRecoveryRatio: 1 } } },
    before: (m) => m.guest(0, [0, 20], AccessKind.exec),
    tasks: (m) => [[4, kvmRecoverNxHugePages(m.other.kvm)]],
  },
  {
    bug: 'no-freeze-before-flush',
    oracle: 'flush-debt',
    rule: 'mapped-before-flush',
    options: { slots: [logged] },
    before: mappedBoth,
    tasks: (m) => [
      [2, setUserMemoryRegion(m.ioctl, RAM)],
      [0, m.guest(0, [2, 18, 22, 3])],
      [1, m.guest(1, [3, 19, 21, 2])],
    ],
  },
  {
    bug: 'fast-pf-marks-before-cmpxchg',
    oracle: 'ghost-log',
    rule: 'ghost-write',
    options: { slots: [logged] },
    before: writtenAndHarvested,
    tasks: (m) => [
      [0, m.guest(0, [0, 1, 17, 20])],
      [2, harvests(m.ioctl)],
    ],
  },
  {
    bug: 'invalid-root-reference-put-twice',
    oracle: 'root-references',
    rule: 'put-without-get',
    before: mappedBoth,
    tasks: (m) => [[2, deletedTwice(m.ioctl)]],
  },
  {
    bug: 'frozen-during-recursive-free',
    oracle: 'frozen-time',
    rule: 'frozen-too-long',
    options: { slots: [logged] },
    before: mappedBoth,
    tasks: (m) => [[2, setUserMemoryRegion(m.ioctl, RAM)]],
  },
  {
    bug: 'tdp-iter-no-forward-progress',
    oracle: 'walk-progress',
    rule: 'yield-without-progress',
    options: { needResched: () => true },
    before: mappedBoth,
    tasks: (m) => [[2, kvmZapGfnRange(m.ioctl.kvm, asGfn(0), asGfn(64))]],
  },
];

function* writtenAndHarvested(m: VmMachine): Task<void> {
  yield* m.guest(0, [0, 1, 17, 20]);
  yield* getDirtyLog(m.ioctl, { slot: 0 });
}

function* harvests(vm: Vm): Task<void> {
  for (let i = 0; i < 4; i++) yield* getDirtyLog(vm, { slot: 0 });
}

/** The vCPU, which does not run, keeps its obsolete root all the time. */
function* deletedTwice(vm: Vm): Task<void> {
  yield* setUserMemoryRegion(vm, { ...RAM, pages: 0 });
  yield* setUserMemoryRegion(vm, RAM);
  yield* setUserMemoryRegion(vm, { ...RAM, pages: 0 });
}

function slotOf(m: VmMachine) {
  const sets = m.ioctl.slots.sets[0];
  return sets.decode(m.memory.words[sets.active])[0];
}

/** Some bugs need two threads to meet within one step. */
const SEEDS = 600;

/** Runs the case and returns what a step oracle, or the MMU itself, found. */
function hunt({ options, before, tasks }: Catch, seed: number, bugs: BugSwitches): string | null {
  const m = new VmMachine({ ...options, bugs, watch: stepOracles() });
  if (before !== undefined) m.run(before(m));
  try {
    m.watched(seed, ...tasks(m));
  } catch (error) {
    if (!(error instanceof InvariantError)) throw error;
    const violation = m.world?.violation ?? null;
    return violation === null ? `machine/${error.rule}` : `${violation.oracle}/${violation.rule}`;
  }
  return null;
}

/** What the run under `seed` ends with: an oracle and a rule, or null. */
function outcome(m: VmMachine, ...tasks: (readonly [number, Task<unknown>])[]): string | null {
  try {
    m.watched(0, ...tasks);
  } catch (error) {
    if (!(error instanceof InvariantError) || m.world?.violation == null) throw error;
    return `${m.world.violation.oracle}/${m.world.violation.rule}`;
  }
  return null;
}

describe('what no bug of the MMU brings about', () => {
  it.each([
    ['guest-translation/stale-write', (m: VmMachine) => getDirtyLog(m.ioctl, { slot: 0 })],
    ['guest-translation/stale-translation', (m: VmMachine) => kvmZapGfnRange(m.ioctl.kvm, asGfn(0), asGfn(4))],
  ])('%s: a vCPU that ignores flushes', (expected, change) => {
    for (const flushes of [true, false]) {
      const m = new VmMachine({ slots: [logged], watch: stepOracles() });
      m.run(m.guest(0, [0, 1]));
      if (!flushes) m.vcpus[0].flushTlb = () => {};
      m.run<unknown>(change(m));
      expect(outcome(m, [0, m.guest(0, [0])])).toBe(flushes ? null : expected);
    }
  });

  it('host-invalidation/stale-frame: a look-up that returns an old frame', () => {
    const m = new VmMachine({ watch: stepOracles() });
    const { host, space } = m.vms[0];
    m.run(hostMigratePages(m.host, m.host.region('ram'), { first: 0, pages: 4 }));
    expect(outcome(m, [0, m.guest(0, [4])])).toBe(null);
    host.faultin = function* (_kvm, fault) {
      fault.pfn = space.frames.layout.pfn(0, fault.gfn, 0, 0);
      fault.mapWritable = true;
      return 0;
    };
    expect(outcome(m, [0, m.guest(0, [0])])).toBe('host-invalidation/stale-frame');
  });

  it.each([true, false])('host-invalidation/mapped-during-invalidation: an invalidation that is forgotten (%s)', (forgotten) => {
    const m = new VmMachine({ watch: stepOracles() });
    const { kvm } = m.host;
    const inProgress = kvm.word(KvmWord.invalidateInProgress);
    const range = { region: 0, first: 0, end: 4 };
    let started = false;
    const host = function* (): Task<void> {
      yield* invalidateRangeStart(kvm, range);
      if (forgotten) m.memory.store32(own(inProgress), 0);
      started = true;
      for (let i = 0; i < 500; i++) yield relax(inProgress);
      if (!forgotten) yield* invalidateRangeEnd(kvm, range);
    };
    const guest = function* (): Task<void> {
      while (!started) yield relax(inProgress);
      yield* m.guest(0, [0]);
    };
    expect(outcome(m, [3, host()], [0, guest()])).toBe(forgotten ? 'host-invalidation/mapped-during-invalidation' : null);
  });

  it.each([
    ['spte-without-lock', 'no lock', (m: VmMachine) => underRcu(m, storeW(m))],
    ['plain-store-shared', 'a plain store under the read lock', (m: VmMachine) => underReadLock(m, storeW(m))],
    ['frozen-by-another', 'a frozen SPTE of another', (m: VmMachine) => underReadLock(m, exchange(m, 3))],
  ])('spte-rights/%s: %s', (rule, _name, make) => {
    const m = new VmMachine({ slots: [logged], watch: stepOracles() });
    m.run(writtenAndHarvested(m));
    m.poke(3, 1, () => m.ioctl.kvm.spte.frozen);
    expect(outcome(m, [2, make(m)])).toBe(`spte-rights/${rule}`);
  });

  it('root-references/reference-kept: a walk over the roots that was left early', () => {
    const m = new VmMachine({ watch: stepOracles() });
    m.run(mappedBoth(m));
    const kept = function* (): Task<void> {
      const { kvm } = m.ioctl;
      yield* mmuReadLock(kvm, 0);
      yield* nextRoot(kvm, 0, RootTypes.all, -1);
      yield* mmuReadUnlock(kvm);
    };
    expect(outcome(m, [2, kept()])).toBe('root-references/reference-kept');
  });

  it('frozen-time/never-thawed: a freeze that nobody ends', () => {
    const m = new VmMachine({ slots: [logged], watch: stepOracles() });
    m.run(writtenAndHarvested(m));
    const frozen = function* (): Task<void> {
      const { kvm } = m.ioctl;
      m.memory.xchg64(yield rmw(m.sptep(0, 2)), kvm.spte.frozen);
      yield* kvmFlushRemoteTlbs(kvm);
    };
    expect(outcome(m, [2, underReadLock(m, frozen())])).toBe('frozen-time/never-thawed');
  });
});

function* storeW(m: VmMachine): Task<void> {
  const old = m.spte(0);
  m.memory.store64(yield write(m.sptep(0)), new Word64(old.lo | 2, old.hi));
}

function* exchange(m: VmMachine, gfn: number): Task<void> {
  m.memory.xchg64(yield rmw(m.sptep(gfn)), m.ioctl.kvm.spte.nonpresent);
}

function* underRcu(m: VmMachine, task: Task<void>): Task<void> {
  const { kvm } = m.ioctl;
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  yield* task;
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
}

function* underReadLock(m: VmMachine, task: Task<void>): Task<void> {
  const { kvm } = m.ioctl;
  yield* mmuReadLock(kvm, 0);
  yield* underRcu(m, task);
  yield* mmuReadUnlock(kvm);
}

describe('a step oracle catches', () => {
  it.each(CATCHES.map((row) => [row.bug, `${row.oracle}/${row.rule}`, row] as const))('%s as %s', (bug, expected, row) => {
    const seen = new Set<string>();
    for (let seed = 0; seed < SEEDS && !seen.has(expected); seed++) {
      if (seed < 20) expect(hunt(row, seed, {}), `seed ${seed} without the bug`).toBe(null);
      const found = hunt(row, seed, { [bug]: true });
      if (found !== null) seen.add(found);
    }
    expect([...seen]).toContain(expected);
  });
});
