/**
 * How a page fault ended, as reports tell it: the kernel's RET_PF_* with the fast path apart.
 */
import { RetPf } from '../../mmu/page-fault-info.ts';

export const FAULT_OUTCOMES = ['fixed', 'fast', 'spurious', 'retry', 'emulate', 'write-protected', 'other'] as const;

export type FaultOutcomeName = (typeof FAULT_OUTCOMES)[number];

const OTHER = FAULT_OUTCOMES.indexOf('other');
const FAST = FAULT_OUTCOMES.indexOf('fast');
/** By result. */
const INDICES: number[] = [];
for (const [result, outcome] of [
  [RetPf.fixed, 'fixed'],
  [RetPf.spurious, 'spurious'],
  [RetPf.retry, 'retry'],
  [RetPf.emulate, 'emulate'],
  [RetPf.writeProtected, 'write-protected'],
] as const) {
  INDICES[result] = FAULT_OUTCOMES.indexOf(outcome);
}

/** Index into {@link FAULT_OUTCOMES} of a fault with this result; `fast`: the fast path fixed it. */
export function outcomeIndex(result: RetPf, fast: boolean): number {
  return fast && result === RetPf.fixed ? FAST : (INDICES[result] ?? OTHER);
}
