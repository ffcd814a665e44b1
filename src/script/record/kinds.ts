/** The names of SPTE changes for a VM's format. */
import { bit64 } from '../../machine/word64.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import { ChangeKinds } from './spte-run.ts';

/** The namer of changes for the VM's CPU and kernel. Bits are named as recordings name them. */
export function changeKinds(kvm: Kvm): ChangeKinds {
  const { spte } = kvm;
  return new ChangeKinds({
    frozen: spte.frozen,
    isMmio: (value) => spte.isMmio(value),
    bits: [
      { name: 'W', mask: bit64(1) },
      { name: 'A', mask: spte.accessed },
      { name: 'D', mask: spte.dirty },
      { name: 'HOSTW', mask: spte.hostWritable },
      { name: 'MMUW', mask: spte.mmuWritable },
      { name: 'NX', mask: spte.format.noExecute },
    ],
  });
}
