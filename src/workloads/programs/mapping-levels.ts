/**
 * Whether a guest at rest, all of whose memory was just touched, is mapped by pages as large as slot and host allow.
 */
import { InvariantError } from '../../machine/invariant.ts';
import { own, read, type Task } from '../../machine/point.ts';
import { asGfn, type Gfn, type Level } from '../../mmu/level.ts';
import { kvmMmuMaxMappingLevel } from '../../mmu/max-mapping-level.ts';
import { slotEnd } from '../../mmu/memslot.ts';
import { isShadowPresentLeaf, isTableLo, spteToChildPage } from '../../mmu/spte.ts';
import { VcpuArea, VcpuWord } from '../../vm/vcpu-layout.ts';
import type { Vm } from '../../vm/vm.ts';
import { findSlot } from './vmm.ts';

/** The level at which root `root` maps `gfn`; 0 where it does not. Nobody changes the tables meanwhile. */
export function* mappedLevel({ kvm }: Vm, root: number, gfn: Gfn): Task<Level> {
  const { geometry, memory, pages } = kvm;
  let page = root;
  for (let level = geometry.rootLevel; ; level--) {
    const spte = memory.load64(yield read(pages.sptep(page, geometry.index(gfn, level))));
    if (isShadowPresentLeaf(spte, level)) return level;
    if (!isTableLo(spte.lo, level)) return 0;
    page = spteToChildPage(spte);
  }
}

/** The root that vCPU `vcpu`, which is at rest, runs on. */
export function rootOfVcpu(vm: Vm, vcpu: number): number {
  return vm.memory.load32(own(new VcpuArea(vm.vcpuArea(vcpu), vm.config).word(VcpuWord.root)));
}

/**
 * Compares every mapping of slot `id` with the largest that may stand there (kvm_mmu_max_mapping_level). The slot does not log,
 * and each of its pages was touched since it stopped: what collapsing zapped has come back, and nothing smaller is left.
 * Errors: huge-page-not-recovered.
 */
export function* checkOnHugePages(vm: Vm, id: number): Task<void> {
  const { kvm } = vm;
  const slot = (yield* findSlot(vm, id))!;
  const root = rootOfVcpu(vm, 0);
  for (let gfn: number = slot.baseGfn; gfn < slotEnd(slot); ) {
    const at = asGfn(gfn);
    const most = yield* kvmMmuMaxMappingLevel(kvm, slot, at);
    const level = yield* mappedLevel(vm, root, at);
    if (level !== most) {
      throw new InvariantError(
        'huge-page-not-recovered',
        `gfn 0x${gfn.toString(16)} of slot ${id} is mapped at level ${level} after logging ended and all memory was touched; slot and host allow level ${most}`,
      );
    }
    gfn = kvm.geometry.round(at, level) + kvm.geometry.span(level);
  }
}
