/**
 * How a page fault ended, as reports tell it: the kernel's RET_PF_* with the fast path apart.
 */
import { RetPf } from '../../mmu/page-fault-info.ts';

export const FAULT_OUTCOMES = ['fixed', 'fast', 'spurious', 'retry', 'emulate', 'write-protected', 'other'] as const;

export type FaultOutcomeName = (typeof FAULT_OUTCOMES)[number];

const OUTCOME_OF: ReadonlyMap<number, FaultOutcomeName> = new Map<number, FaultOutcomeName>([
  [RetPf.fixed, 'fixed'],
  [RetPf.spurious, 'spurious'],
  [RetPf.retry, 'retry'],
  [RetPf.emulate, 'emulate'],
  [RetPf.writeProtected, 'write-protected'],
]);

/** Index into {@link FAULT_OUTCOMES} of a fault with this result; `fast`: the fast path fixed it. */
export function outcomeIndex(result: RetPf, fast: boolean): number {
  return FAULT_OUTCOMES.indexOf(fast && result === RetPf.fixed ? 'fast' : (OUTCOME_OF.get(result) ?? 'other'));
}
