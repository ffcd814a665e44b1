import { describe, expect, it } from 'vitest';
import { type Address, own } from '../../src/machine/point.ts';
import { KvmWord } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { PageHeader } from '../../src/mmu/mmu-page.ts';
import { checkVm } from '../../src/oracles/index.ts';
import { rmapHead } from '../../src/shadow/drop-spte.ts';
import { ShadowHeader, ShadowWord } from '../../src/shadow/shadow-layout.ts';
import { bucketOf } from '../../src/shadow/shadow-page.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { ShadowMachine, SMALL_SHADOW } from './shadow-machine.ts';

const BASE = 0x40;

/** Two roots that map the same 4K pages, so that there are descriptors. */
function machineWithLists(): ShadowMachine {
  const config = { ...SMALL_SHADOW, memory: [{ name: 'A', type: '4k' as const, pages: 16, populate: true }] };
  const machine = new ShadowMachine({ config });
  machine.slot(1, BASE, 'A');
  machine.vcpus[1].mmu.guestMode = true;
  machine.run(machine.guest(0, BASE, 16, AccessKind.write));
  machine.run(machine.guest(1, BASE, 8, AccessKind.write));
  machine.expectSound();
  return machine;
}

/** The rules that the oracle of the rmap-based MMU finds broken. */
function broken(machine: ShadowMachine): string[] {
  const vcpuRoots = (id: number): number[] => [machine.vcpus[id].mmu.root];
  const cachedPages = machine.vcpus.flatMap(({ mmu }) => mmu.pageCache.pages);
  const report = checkVm(machine.ioctl, { vcpuRoots, cachedPages }).find(({ oracle }) => oracle === 'rmaps');
  return [...new Set(report?.violations.map(({ rule }) => rule))];
}

/** Changes one word, as no code of the MMU would. */
function corrupt(where: (machine: ShadowMachine) => number, change: (value: number) => number): string[] {
  const machine = machineWithLists();
  const at = where(machine) as Address;
  machine.memory.store32(own(at), change(machine.memory.load32(own(at))));
  return broken(machine);
}

const headOf = (machine: ShadowMachine, gfn: number): Address => {
  const { slots, kvm } = machine.ioctl;
  const [slot] = slots.sets[0].decode(machine.memory.load32(own(slots.sets[0].active)));
  return rmapHead(kvm, slot, asGfn(gfn), 1);
};
const word = (machine: ShadowMachine, page: number, index: number): Address => machine.ioctl.kvm.pages.word(page, index);
const leafTable = (machine: ShadowMachine): number => machine.pages.find((page) => machine.ioctl.kvm.pages.level(page) === 1)!;

describe('the oracle of the rmap-based MMU', () => {
  it.each([
    ['a reverse map that lost its only entry', (m: ShadowMachine) => headOf(m, BASE + 12), () => 0, ['rmap']],
    ['a reverse map that lost its list', (m: ShadowMachine) => headOf(m, BASE + 3), () => 0, ['rmap', 'recount']],
    ['a reverse map with a stale entry', (m: ShadowMachine) => headOf(m, BASE + 12), (v: number) => v + 2, ['rmap']],
    ['a hole in a descriptor', (m: ShadowMachine) => m.shadow.descriptor(1), () => 0, ['rmap-holes', 'rmap']],
    ['a chain that leads nowhere', (m: ShadowMachine) => m.shadow.descriptor(1) + 3, () => 99_999, ['rmap-chain']],
    ['parents that were forgotten', (m: ShadowMachine) => word(m, leafTable(m), ShadowHeader.parents), () => 0, ['rmap']],
    ['a leaf that vanished', (m: ShadowMachine) => m.ioctl.kvm.pages.sptep(leafTable(m), 1), () => 0, ['rmap', 'recount']],
    ['a count of leaves', (m: ShadowMachine) => m.ioctl.kvm.word(KvmWord.stats), (v: number) => v + 1, ['recount']],
    ['a count of descriptors', (m: ShadowMachine) => m.shadow.word(ShadowWord.descUsed), (v: number) => v - 1, ['recount']],
    ['a reference too many', (m: ShadowMachine) => word(m, m.roots[0], PageHeader.rootCount), () => 2, ['reference-leaked']],
    ['a reference too few', (m: ShadowMachine) => word(m, m.roots[0], PageHeader.rootCount), () => 0, ['reference-missing']],
    ['the order of active pages', (m: ShadowMachine) => m.shadow.word(ShadowWord.activeTail), () => 1, ['active-list']],
    ['a page missing in the hash', (m: ShadowMachine) => bucketOf(m.shadow, asGfn(BASE)), () => 0, ['hash']],
    [
      'an invalid page that still maps',
      (m: ShadowMachine) => word(m, leafTable(m), PageHeader.role),
      (v: number) => v | (1 << 31),
      ['invalid-not-empty', 'hash'],
    ],
  ] as const)('finds %s', (_name, where, change, rules) => {
    const found = corrupt(where, change);
    for (const rule of rules) expect(found).toContain(rule);
  });
});
