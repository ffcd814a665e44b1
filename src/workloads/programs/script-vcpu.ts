/** The vCPUs of scripts: with the guest's code in gfn 0 where there is a code slot, and a user space that ends runs at a full ring. */
import type { Task } from '../../machine/point.ts';
import { kvmDirtyRingSoftFull } from '../../mmu/dirty-ring.ts';
import { asGfn } from '../../mmu/level.ts';
import { type DirtyRingExits, Vcpu } from '../../vm/vcpu.ts';
import { VcpuArea } from '../../vm/vcpu-layout.ts';
import type { Vm } from '../../vm/vm.ts';

export interface ScriptVcpuOptions {
  readonly id: number;
  /** Whether fetching the guest's code is modelled. */
  readonly code: boolean;
  readonly flushOnEntry: boolean;
}

/** vCPU `id`, run by the thread whose handle `vm` is. */
export function scriptVcpu(vm: Vm, { id, code, flushOnEntry }: ScriptVcpuOptions): Vcpu {
  return new Vcpu({
    kvm: vm.kvm,
    id,
    area: new VcpuArea(vm.vcpuArea(id), vm.config),
    contentWord: vm.contentWord,
    codeGfn: code ? asGfn(0) : null,
    flushOnEntry,
    dirtyRing: (vm.config.dirtyRingEntries ?? 0) > 0 ? dirtyRingExits(vm) : null,
  });
}

/** User space of a vCPU with a dirty ring: a full ring ends the run. */
function dirtyRingExits({ kvm, config }: Vm): DirtyRingExits {
  const logSize = kvm.params.pml ? config.pmlEntries : 0;
  return {
    softFull: (vcpu: number) => kvmDirtyRingSoftFull(kvm, vcpu, logSize),
    *exitToUser(): Task<boolean> {
      return false;
    },
  };
}
