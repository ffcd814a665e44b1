/** What an SPTE says, in a few words. */
import type { Kvm } from '../mmu/kvm.ts';
import { isLastSpte, isShadowPresent, isWritable, type Spte, sptePfn, spteToChildPage } from '../mmu/spte.ts';

/** A number as the kernel prints gfns and frames. */
export const hex = (n: number): string => `0x${n.toString(16)}`;

/** `table 5`, `2M rw- AD frame 0x100008`, `FROZEN`, `empty`, `MMIO (generation 4)`. */
export function describeSpte(kvm: Kvm, spte: Spte, level: number): string {
  const format = kvm.spte;
  if (format.isFrozen(spte)) return 'FROZEN';
  if (!isShadowPresent(spte)) return format.isMmio(spte) ? `MMIO (generation ${format.mmioGeneration(spte)})` : 'empty';
  if (!isLastSpte(spte, level)) return `table ${spteToChildPage(spte)}`;
  const size = ['', '', 'huge ', '1G '][level] ?? '';
  if (format.isAccessTracked(spte)) return `${size}access-tracked frame ${hex(sptePfn(spte))}`;
  const rights = `${format.isReadable(spte) ? 'r' : '-'}${isWritable(spte) ? 'w' : '-'}${format.isExecutable(spte) ? 'x' : '-'}`;
  const state = `${format.isAccessed(spte) ? 'A' : ''}${format.isDirty(spte) ? 'D' : ''}`;
  return `${size}${rights}${state === '' ? '' : ` ${state}`} frame ${hex(sptePfn(spte))}`;
}
