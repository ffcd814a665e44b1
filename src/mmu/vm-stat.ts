/** Atomic statistics of a VM, which nobody decides on (kernel: kvm_update_page_stats, tdp_account_mmu_page). */
import { count, own, type Task } from '../machine/point.ts';
import type { Kvm } from './kvm.ts';
import { KvmWord } from './kvm.ts';
import type { Level } from './level.ts';

export const VmStat = {
  pages4k: 0,
  pages2m: 1,
  pages1g: 2,
  /** Page-table pages below roots. */
  tdpMmuPages: 3,
  /** Tables that exist because of nx_huge_pages. */
  nxLpageSplits: 4,
} as const;

/** The statistic that counts leaves of `level`. */
export const pagesStat = (level: Level): number => level - 1;

export function* addVmStat(kvm: Kvm, stat: number, delta: number): Task<void> {
  kvm.memory.add32(yield count(kvm.word(KvmWord.stats + 2 * stat)), delta);
}

/** The value as it is now, for reports and oracles. */
export function vmStat(kvm: Kvm, stat: number): number {
  return kvm.memory.load32(own(kvm.word(KvmWord.stats + 2 * stat)));
}
