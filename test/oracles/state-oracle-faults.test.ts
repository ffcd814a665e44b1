/** Each state oracle catches the fault that it is there for: seeded in the arena, or by a bug put back into the MMU. */
import { describe, expect, it } from 'vitest';
import { PageState, PageWord } from '../../src/machine/page-allocator.ts';
import { type Address, own, type Task } from '../../src/machine/point.ts';
import { SPINLOCK_WORDS } from '../../src/machine/spinlock.ts';
import { ThreadWord } from '../../src/machine/thread.ts';
import { VcpuMode } from '../../src/machine/tlb-shootdown.ts';
import { Word64 } from '../../src/machine/word64.ts';
import { KvmWord } from '../../src/mmu/kvm.ts';
import { asGfn, asPfn } from '../../src/mmu/level.ts';
import { type Memslot, SlotFlag } from '../../src/mmu/memslot.ts';
import { mmuReadLock } from '../../src/mmu/mmu-lock.ts';
import { invalidRole, PageHeader } from '../../src/mmu/mmu-page.ts';
import { kvmWriteTrackAddGfn } from '../../src/mmu/page-track.ts';
import { pfnBits, spteToChildPage } from '../../src/mmu/spte.ts';
import { STATE_ORACLES } from '../../src/oracles/index.ts';
import { clearDirtyLog, getDirtyLog } from '../../src/vm/dirty-log.ts';
import { dropRange } from '../../src/vm/host-operations.ts';
import { invalidateRangeStart } from '../../src/vm/mmu-notifier.ts';
import { setUserMemoryRegion } from '../../src/vm/set-memory-region.ts';
import { RAM, SMALL, VmMachine, type VmMachineOptions } from './vm-machine.ts';

const logged = { ...RAM, flags: SlotFlag.logDirty };
const small4k = { ...SMALL.memory?.[0], name: 'ram', type: '4k', pages: 64 } as const;

const W = 1 << 1;
const MMU_W = 1 << 10;
const HOST_W = 1 << 9;
const without = (bits: number) => (spte: Word64) => new Word64(spte.lo & ~bits, spte.hi);

/** A VM with gfns 0, 1 and 17 mapped by 4K pages and a vCPU that has them in its TLB. */
function mapped(options: VmMachineOptions = {}): VmMachine {
  const m = new VmMachine({ ...options, config: { memory: [small4k], ...options.config } });
  m.run(m.guest(0, [0, 1, 17]));
  return m;
}

/** A VM with a huge page at gfn 4. */
function huge(): VmMachine {
  const m = new VmMachine();
  m.run(m.guest(0, [4]));
  return m;
}

const store = (m: VmMachine, a: number, value: number): void => m.memory.store32(own(a as Address), value);
const load = (m: VmMachine, a: number): number => m.memory.load32(own(a as Address));
const root = (m: VmMachine): number => m.vcpus[0].mmu.root;
const table = (m: VmMachine, gfn: number): number => spteToChildPage(m.spte(gfn, 2));
const header = (m: VmMachine, page: number, index: number): Address => m.ioctl.kvm.pages.word(page, index);

/** What is broken, the rule that must be named, and how. */
const CORRUPTIONS: readonly (readonly [string, string, () => VmMachine, (m: VmMachine) => void])[] = [
  ['an SPTE of garbage', 'tree/nonpresent-value', mapped, (m) => m.poke(2, 1, () => new Word64(0x550, 0))],
  ['a table linked twice', 'tree/linked-twice', mapped, (m) => m.poke(20, 2, () => m.spte(0, 2))],
  ['a header with another gfn', 'tree/table-gfn', mapped, (m) => store(m, header(m, table(m, 0), PageHeader.gfn), 8)],
  ['a header with another parent', 'tree/table-ptep', mapped, (m) => store(m, header(m, table(m, 0), PageHeader.ptep), 64)],
  ['a header with another role', 'tree/table-role', mapped, (m) => store(m, header(m, table(m, 0), PageHeader.role), 2)],
  ['a link without write access', 'tree/table-bits', mapped, (m) => m.poke(0, 2, without(W))],
  ['a link to no page', 'tree/table-pfn', mapped, (m) => m.poke(0, 2, (s) => new Word64((s.lo & 0xfff) | (5000 << 12), s.hi))],
  [
    'a link to a page of a cache',
    'tree/table-not-live',
    mapped,
    (m) => m.poke(20, 2, () => m.ioctl.kvm.spte.makeNonleaf(m.vcpus[0].mmu.pageCache.pages[0], false)),
  ],
  ['W without MMU-writable', 'tree/writable-bits', mapped, (m) => m.poke(1, 1, without(MMU_W))],
  ['MMU-writable without host-writable', 'tree/writable-bits', mapped, (m) => m.poke(1, 1, without(HOST_W))],
  ['a leaf that cannot be read', 'tree/leaf-bits', mapped, (m) => m.poke(1, 1, without(1))],
  ['a leaf without A/D bits', 'tree/ad-type', mapped, (m) => m.poke(1, 1, (s) => new Word64(s.lo, s.hi | (1 << 20)))],
  ['a huge leaf off its alignment', 'tree/pfn-alignment', huge, (m) => m.poke(4, 2, (s) => new Word64(s.lo + (1 << 12), s.hi))],
  ['a huge bit at 4K', 'tree/huge-bit', mapped, (m) => m.poke(1, 1, (s) => new Word64(s.lo | (1 << 7), s.hi))],
  ['a frozen SPTE', 'frozen/left-frozen', mapped, (m) => m.poke(1, 1, () => m.ioctl.kvm.spte.frozen)],
  ['a leaf cleared behind the statistics', 'statistics/recount', mapped, (m) => m.poke(1, 1, () => m.ioctl.kvm.spte.nonpresent)],
  ['a page on the NX list without its flag', 'statistics/nx-flag', mapped, (m) => trackNx(m, table(m, 0))],
  ['a page on the NX list that is not linked', 'statistics/nx-unlinked', mapped, (m) => trackNx(m, freePageOf(m))],
  [
    'a free page that was written',
    'pages/use-after-free',
    afterZap,
    (m) => store(m, m.ioctl.kvm.pages.sptep(freePageOf(m), 2), 7),
  ],
  [
    'a cached page that was written',
    'pages/cached-not-empty',
    mapped,
    (m) => store(m, m.ioctl.kvm.pages.sptep(cachedPageOf(m), 2), 7),
  ],
  ['a table that nothing links any more', 'pages/leak', mapped, (m) => m.poke(0, 2, () => m.ioctl.kvm.spte.nonpresent)],
  [
    'a page of a cache that is marked free',
    'pages/page-state',
    mapped,
    (m) => store(m, m.ioctl.kvm.allocator.word(cachedPageOf(m), PageWord.state), PageState.free),
  ],
  ['a linked page on the free list', 'pages/two-places', mapped, (m) => store(m, m.ioctl.kvm.allocator.freeHead, table(m, 0))],
  ['a miscount of pages', 'pages/recount', mapped, (m) => store(m, m.ioctl.kvm.allocator.used, 3)],
  ['a leaf in a removed table', 'pages/removed-not-empty', removedTable, (m) => store(m, removedEntry(m), (1 << 11) | 1)],
  ['a reference too many', 'roots/reference-leaked', mapped, (m) => store(m, header(m, root(m), PageHeader.rootCount), 5)],
  ['a reference too few', 'roots/reference-missing', mapped, (m) => store(m, header(m, root(m), PageHeader.rootCount), 1)],
  ['an empty list of roots', 'roots/root-gone', mapped, (m) => store(m, m.ioctl.kvm.word(KvmWord.roots), 0)],
  ['a circle of roots', 'roots/root-list', mapped, (m) => store(m, header(m, root(m), PageHeader.rootNext), root(m))],
  ['a root invalidated behind its vCPU', 'roots/obsolete-root-kept', mapped, invalidateRoot],
  ['an invalid root that maps something', 'roots/invalid-root-not-empty', mapped, invalidateRoot],
  [
    'a valid root to be zapped',
    'roots/scheduled-valid',
    mapped,
    (m) => store(m, header(m, root(m), PageHeader.scheduledRootToZap), 1),
  ],
  ['a stale translation', 'tlb/tlb-unmapped', mapped, (m) => m.poke(1, 1, () => m.ioctl.kvm.spte.nonpresent)],
  ['a translation with another frame', 'tlb/tlb-pfn', mapped, (m) => m.poke(1, 1, () => m.spte(17))],
  ['a translation with W', 'tlb/tlb-write', mapped, (m) => m.poke(1, 1, without(W))],
  ['a translation with X', 'tlb/tlb-exec', mapped, (m) => m.poke(1, 1, (s) => new Word64(s.lo, s.hi | (1 << 31)))],
  [
    'a cached table that was removed',
    'tlb/pwc-table',
    mapped,
    (m) => {
      m.vcpus[0].tlb.flush();
      m.poke(17, 2, () => m.ioctl.kvm.spte.nonpresent);
    },
  ],
  ['a leaf without a memslot', 'mapping/no-slot', mapped, (m) => setSlot(m, { npages: 8 })],
  ['a leaf with another frame', 'mapping/stale-pfn', mapped, (m) => m.poke(1, 1, () => m.spte(0))],
  ['a leaf of a page that the host dropped', 'mapping/host-unmapped', mapped, (m) => dropSilently(m, 1)],
  ['a huge leaf over small host pages', 'mapping/host-level', mapped, (m) => m.poke(4, 2, () => hugeLeaf(m, 4))],
  ['a leaf in a slot that is going', 'mapping/invalid-slot', mapped, (m) => setSlot(m, { flags: SlotFlag.invalid })],
  ['a writable leaf in a read-only slot', 'mapping/readonly-slot', mapped, (m) => setSlot(m, { flags: SlotFlag.readonly })],
  ['a huge leaf beyond its slot', 'mapping/slot-level', unaligned, (m) => m.poke(4, 2, () => hugeLeaf(m, 4))],
  [
    'a writable huge leaf in a slot that logs',
    'mapping/huge-in-dirty-log',
    loggingHuge,
    (m) => m.poke(4, 2, (s) => new Word64(s.lo | W | MMU_W, s.hi)),
  ],
  ['write access to a tracked gfn', 'mapping/write-tracked', tracked, (m) => m.poke(1, 1, (s) => new Word64(s.lo | MMU_W, s.hi))],
  [
    'an MMIO SPTE over a slot',
    'mapping/mmio-over-slot',
    mapped,
    (m) => m.poke(2, 1, () => m.ioctl.kvm.spte.makeMmio(asGfn(2), 6, m.ioctl.slots.sets[0].currentGeneration())),
  ],
  ['a read-only host page mapped for writing', 'mapping/host-readonly', mapped, (m) => hostReadonly(m, 1)],
  ['mmu_lock held', 'locks/lock-held', mapped, (m) => m.run(mmuReadLock(m.ioctl.kvm, 0))],
  ['a spinlock with a holder', 'locks/lock-held', mapped, (m) => store(m, m.layout.hostTableLocks + SPINLOCK_WORDS, 99)],
  ['an RCU reader', 'locks/rcu-reader', mapped, (m) => store(m, m.layout.kvm.threadBlock(3) + ThreadWord.rcu, 3)],
  ['an SRCU reader', 'locks/srcu-reader', mapped, (m) => store(m, m.layout.kvm.threadBlock(3) + ThreadWord.srcu1, 1)],
  [
    'an open invalidation',
    'locks/invalidate-open',
    mapped,
    (m) => m.run(invalidateRangeStart(m.host.kvm, { region: 0, first: 0, end: 1 })),
  ],
  [
    'a request that a running vCPU missed',
    'locks/request-missed',
    mapped,
    (m) => {
      store(m, m.ioctl.kvm.requests.mode(0), VcpuMode.inGuest);
      store(m, m.ioctl.kvm.requests.requests(0), 1);
    },
  ],
  [
    'a vCPU in the middle of a walk',
    'locks/vcpu-mode',
    mapped,
    (m) => store(m, m.ioctl.kvm.requests.mode(1), VcpuMode.readingShadowPageTables),
  ],
  ['a work item left', 'locks/work-left', mapped, (m) => store(m, m.ioctl.kvm.zapQueue.queued, 1)],
  ['a lost dirty bit', 'dirty-log/writable-not-logged', logging, (m) => store(m, bitmapOf(m), 0)],
  ['a lost dirty bit with PML', 'dirty-log/dirty-not-logged', loggingPml, (m) => store(m, bitmapOf(m), 0)],
];

function trackNx(m: VmMachine, page: number): void {
  store(m, m.ioctl.kvm.word(KvmWord.nxPages), page);
  store(m, m.ioctl.kvm.word(KvmWord.nxPagesTail), page);
  store(m, header(m, page, PageHeader.nxPrev), 0);
  store(m, header(m, page, PageHeader.nxNext), 0);
}

const cachedPageOf = (m: VmMachine): number => m.vcpus[0].mmu.pageCache.pages[0];

function freePageOf(m: VmMachine): number {
  const { allocator } = m.ioctl.kvm;
  return load(m, allocator.freeHead) || load(m, allocator.watermark) + 1;
}

/** A VM with pages on the free list. */
function afterZap(): VmMachine {
  const m = mapped();
  m.run(setUserMemoryRegion(m.ioctl, { ...RAM, pages: 0 }));
  m.run(setUserMemoryRegion(m.ioctl, RAM));
  m.run(m.guest(0, [0]));
  m.run(m.ioctl.kvm.allocator.reclaim?.(m.ioctl.thread) as Task<void>);
  return m;
}

/** A VM with a removed table that waits for a grace period. */
function removedTable(): VmMachine {
  const m = mapped();
  m.run(setUserMemoryRegion(m.ioctl, { ...RAM, pages: 0 }));
  return m;
}

const removedEntry = (m: VmMachine): Address => m.ioctl.kvm.pages.sptep(load(m, m.ioctl.kvm.rcu.head), 1);

function invalidateRoot(m: VmMachine): void {
  const word = header(m, root(m), PageHeader.role);
  store(m, word, invalidRole(load(m, word)));
}

function dropSilently(m: VmMachine, page: number): void {
  m.run(dropRange(m.host, m.host.region('ram'), { region: 0, first: page, end: page + 1 }));
}

/** mprotect without a word to the notifier. */
function hostReadonly(m: VmMachine, page: number): void {
  const region = m.host.region('ram');
  const entry = region.directoryWord(region.entryOf(page));
  store(m, entry, load(m, entry) | 8 | 1);
}

function hugeLeaf(m: VmMachine, gfn: number): Word64 {
  const leaf = m.spte(0);
  const frame = pfnBits(asPfn(m.ioctl.space.frames.layout.pfn(0, gfn, 0, 0)));
  return new Word64((leaf.lo & 0xfff) | frame.lo | (1 << 7), leaf.hi);
}

/** Changes the slot behind the MMU's back. */
function setSlot(m: VmMachine, change: Partial<Memslot>): void {
  const sets = m.ioctl.slots.sets[0];
  const slots = sets.decode(load(m, sets.active));
  sets.stage(slots.map((slot) => ({ ...slot, ...change })));
  m.run(sets.publish());
}

/** A slot whose host pages are off by one: no huge page fits. */
function unaligned(): VmMachine {
  const m = new VmMachine({ config: { memory: [small4k] }, slots: [{ ...RAM, pages: 32, regionPage: 1 }] });
  m.run(m.guest(0, [0, 17]));
  return m;
}

function loggingHuge(): VmMachine {
  const m = new VmMachine({ config: { params: { eagerPageSplit: 0 } } });
  m.run(m.guest(0, [4]));
  m.run(setUserMemoryRegion(m.ioctl, logged));
  return m;
}

function tracked(): VmMachine {
  const m = mapped();
  const sets = m.ioctl.slots.sets[0];
  m.run(kvmWriteTrackAddGfn(m.ioctl.kvm, sets.decode(load(m, sets.active))[0], asGfn(1)));
  return m;
}

function logging(): VmMachine {
  const m = mapped();
  m.run(setUserMemoryRegion(m.ioctl, logged));
  m.run(m.guest(0, [0, 1]));
  return m;
}

function loggingPml(): VmMachine {
  const m = mapped({ config: { cpu: 'ept', params: { pml: 1 } } });
  m.run(setUserMemoryRegion(m.ioctl, logged));
  m.run(m.guest(0, [0, 1]));
  return m;
}

function bitmapOf(m: VmMachine): Address {
  const sets = m.ioctl.slots.sets[0];
  return sets.decode(load(m, sets.active))[0].dirtyBitmap;
}

describe('a fault in the arena', () => {
  it.each(CORRUPTIONS)('%s: %s', (_name, rule, make, corrupt) => {
    const m = make();
    expect(m.violations(), 'before').toEqual([]);
    corrupt(m);
    expect(m.broken()).toContain(rule);
  });

  it('is seeded for every state oracle', () => {
    const covered = new Set(CORRUPTIONS.map(([, rule]) => rule.split('/')[0]));
    expect([...covered].sort()).toEqual(STATE_ORACLES.map(({ name }) => name).sort());
  });

  it('says what is wrong, where, and what the word went through', () => {
    const m = mapped();
    m.poke(1, 1, () => m.ioctl.kvm.spte.frozen);
    const [violation] = m.violations({ history: ({ word }) => [`word ${word} was frozen by thread 3`] });
    const sptep = m.sptep(1);
    expect(violation).toEqual({
      oracle: 'frozen',
      rule: 'left-frozen',
      where: { root: root(m), asId: 0, gfn: 1, level: 1, word: sptep, page: table(m, 0) },
      message: `level 1, gfn 0x1, root ${root(m)}: the SPTE is still FROZEN_SPTE`,
      history: [`word ${sptep} was frozen by thread 3`],
    });
  });

  it('is kept a limited number of times, and counted beyond', () => {
    const m = mapped();
    for (const gfn of [0, 1, 17]) m.poke(gfn, 1, () => m.ioctl.kvm.spte.frozen);
    expect(m.violations({ limit: 1 }).filter(({ oracle }) => oracle === 'frozen')).toHaveLength(1);
  });
});

describe('a pending flush excuses a stale translation', () => {
  it('until it is served', () => {
    const m = mapped();
    m.poke(1, 1, without(W | MMU_W));
    expect(m.broken()).toEqual(['tlb/tlb-write']);
    store(m, m.ioctl.kvm.requests.requests(0), 1);
    expect(m.broken()).toEqual([]);
  });

  it('and so does aging without A/D bits, unless a dirty log counts on the SPTE', () => {
    const m = mapped({ config: { cpu: 'ept', adBits: false } });
    m.poke(1, 1, (spte) => m.ioctl.kvm.spte.markForAccessTrack(spte));
    expect(m.broken()).toEqual([]);
    m.run(setUserMemoryRegion(m.ioctl, logged));
    expect(m.broken()).toEqual([]);
    store(m, m.ioctl.kvm.requests.requests(0), 0);
    expect(m.broken()).toContain('tlb/tlb-write-unlogged');
  });
});

describe('versions of contents', () => {
  it('show a write that no log will report', () => {
    const m = logging();
    const word = m.ioctl.space.frames.contentWord(asPfn(Number(m.ioctl.space.frames.layout.pfn(0, 0, 0, 0))));
    const pfn = asPfn(Number(m.ioctl.space.frames.layout.pfn(0, 0, 0, 0)));
    m.run(getDirtyLog(m.ioctl, { slot: 0 }));
    const sent = { pfn, version: load(m, word) };
    const options = { sent: (_slot: unknown, gfn: number) => (gfn === 0 ? sent : undefined) };
    expect(m.broken(options)).toEqual([]);
    m.run(m.guest(0, [0]));
    expect(m.broken(options), 'written and marked').toEqual([]);
    m.memory.add32(own(word), 1);
    m.run(getDirtyLog(m.ioctl, { slot: 0 }));
    expect(m.broken(options), 'written, and the mark is gone').toEqual(['dirty-log/lost-write']);
  });
});

/** A bug, what shows of it afterwards, and what to run: some of the first seeds find it. */
const BUGS: readonly (readonly [string, string, VmMachineOptions, (m: VmMachine) => readonly Task<unknown>[]])[] = [
  ['duplicate-root-alloc-under-read-lock', 'roots/two-valid-roots', {}, (m) => [m.guest(0, [0]), m.guest(1, [1])]],
  [
    'fault-uses-invalid-memslot',
    'mapping/no-slot',
    {},
    (m) => [m.guest(0, [0, 1, 2, 3]), m.guest(1, [16, 17, 33]), setUserMemoryRegion(m.ioctl, { ...RAM, pages: 0 })],
  ],
  [
    'harvest-without-flush-before-return',
    'tlb/tlb-write',
    { slots: [logged] },
    (m) => {
      m.run(m.guest(0, [0, 1, 5]));
      return [getDirtyLog(m.ioctl, { slot: 0 })];
    },
  ],
];

describe('a bug in the MMU', () => {
  it.each(BUGS)('%s shows as %s', (bug, rule, options, tasks) => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 60 && !seen.has(rule); seed++) {
      const healthy = new VmMachine(options);
      healthy.together(seed, ...tasks(healthy));
      expect(healthy.broken(), `seed ${seed} without the bug`).toEqual([]);
      const sick = new VmMachine({ ...options, bugs: { [bug]: true } });
      try {
        sick.together(seed, ...tasks(sick));
      } catch {
        continue;
      }
      for (const found of sick.broken()) seen.add(found);
    }
    expect([...seen]).toContain(rule);
  });

  it('clear-dirty-log with a late flush is none', () => {
    const m = new VmMachine({ slots: [logged], config: { params: { manualProtect: 1 } } });
    m.run(m.guest(0, [0, 1]));
    m.run(clearDirtyLog(m.ioctl, { slot: 0, firstPage: 0, pages: 64, bitmap: new Uint32Array([3, 0]) }));
    expect(m.broken()).toEqual([]);
  });
});
