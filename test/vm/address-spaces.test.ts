import { describe, expect, it } from 'vitest';
import { own } from '../../src/machine/point.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { roleAsId, roleGuestMode } from '../../src/mmu/mmu-page.ts';
import { kvmMmuNewPgd } from '../../src/mmu/root-load.ts';
import { isShadowPresent, isTableLo, sptePfn, spteToChildPage } from '../../src/mmu/spte.ts';
import { kvmZapGfnRange } from '../../src/mmu/zap-leafs.ts';
import { hostDontneed } from '../../src/vm/host-operations.ts';
import { getDirtyLog, setMemslotFlags, setUserMemoryRegion } from '../../src/vm/ioctl.ts';
import { BASE, dirtyRuns, LOG, spteAt, VmMachine } from './vm-machine.ts';

/** RAM in both address spaces, of which SMM sees another region in the place of the first 16 pages. */
function machineWithSmm() {
  const machine = new VmMachine({
    config: {
      memory: [
        { name: 'ram', type: '4k', pages: 64, populate: true },
        { name: 'smram', type: '4k', pages: 16, populate: true },
      ],
    },
  });
  const { ioctl } = machine;
  machine.slot(1, BASE, 'ram');
  const region = ioctl.region('smram');
  expect(machine.run(setUserMemoryRegion(ioctl, { slot: 1, asId: 1, baseGfn: BASE, pages: 16, region: region.index }))).toBe(0);
  const [vcpu] = machine.vcpus;
  return {
    machine,
    ioctl,
    vcpu,
    enter: (asId: number, nested = false) => machine.run(kvmMmuNewPgd(vcpu.kvm, vcpu.mmu, asId, nested)),
  };
}

describe('two address spaces', () => {
  it('have roots of their own, which a vCPU keeps while it is in the other', () => {
    const { machine, vcpu, enter } = machineWithSmm();
    machine.write(BASE);
    const normal = vcpu.mmu.root;
    const pfn = sptePfn(spteAt(machine, BASE));
    enter(1);
    machine.write(BASE);
    const { pages } = vcpu.kvm;
    expect([roleAsId(pages.role(normal)), roleAsId(pages.role(vcpu.mmu.root))]).toEqual([0, 1]);
    expect(sptePfn(spteAt(machine, BASE))).not.toBe(pfn);
    enter(0);
    expect(vcpu.mmu.root).toBe(normal);
    expect(sptePfn(spteAt(machine, BASE))).toBe(pfn);
  });

  it('log apart from each other', () => {
    const { machine, ioctl, enter } = machineWithSmm();
    machine.run(setMemslotFlags(ioctl, { slot: 1, asId: 1 }, LOG));
    machine.write(BASE);
    expect(machine.run(getDirtyLog(ioctl, { slot: 1 })).result).not.toBe(0);
    enter(1);
    machine.write(BASE + 2);
    expect(dirtyRuns(machine.run(getDirtyLog(ioctl, { slot: 1, asId: 1 })).bitmap)).toBe('2+1');
  });

  it('are unmapped each by the notifier of its own memory', () => {
    const { machine, ioctl, vcpu, enter } = machineWithSmm();
    machine.write(BASE);
    enter(1);
    machine.write(BASE);
    machine.run(hostDontneed(machine.hostThread, ioctl.region('ram'), { first: 0, pages: 64 }));
    expect(isShadowPresent(spteAt(machine, BASE))).toBe(true);
    enter(0);
    expect(isShadowPresent(spteAt(machine, BASE))).toBe(false);
    expect(vcpu.mmu.root).not.toBe(0);
  });

  it('are both zapped by kvm_zap_gfn_range', () => {
    const { machine, ioctl, enter } = machineWithSmm();
    machine.write(BASE);
    enter(1);
    machine.write(BASE);
    machine.run(kvmZapGfnRange(ioctl.kvm, asGfn(BASE), asGfn(BASE + 1)));
    expect(isShadowPresent(spteAt(machine, BASE))).toBe(false);
    enter(0);
    expect(isShadowPresent(spteAt(machine, BASE))).toBe(false);
  });

  it('are not the only roles: a nested guest has a root, too, and all three are kept', () => {
    const { machine, vcpu, enter } = machineWithSmm();
    machine.write(BASE);
    enter(1);
    machine.write(BASE);
    enter(0, true);
    machine.write(BASE);
    const { pages } = vcpu.kvm;
    expect(roleGuestMode(pages.role(vcpu.mmu.root))).toBe(true);
    expect(
      [...vcpu.mmu.prevRoots]
        .filter((root) => root !== 0)
        .map((root) => roleAsId(pages.role(root)))
        .sort(),
    ).toEqual([0, 1]);
  });
});

describe('five-level tables', () => {
  it('map what four levels cannot reach, through one table more', () => {
    const machine = new VmMachine({
      config: { rootLevel: 5, maxGfn: 2 ** 40, memory: [{ name: 'A', type: 'thp', pages: 1024, populate: true }] },
    });
    const far = 2 ** 36 + 2 ** 27 + BASE;
    machine.slot(1, far, 'A');
    machine.write(far + 3);
    const { kvm, mmu } = machine.vcpus[0];
    const levels: number[] = [];
    let page = mmu.root;
    for (let level = 5; ; level--) {
      levels.push(level);
      const spte = machine.memory.load64(own(kvm.pages.sptep(page, kvm.geometry.index(asGfn(far + 3), level))));
      if (!isTableLo(spte.lo, level)) break;
      page = spteToChildPage(spte);
    }
    expect(levels).toEqual([5, 4, 3, 2]);
    machine.run(hostDontneed(machine.hostThread, machine.ioctl.region('A'), { first: 0, pages: 1024 }));
    expect(isShadowPresent(spteAt(machine, far))).toBe(false);
  });
});
