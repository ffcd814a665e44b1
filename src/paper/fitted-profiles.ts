/**
 * Prices that were fitted to published figures, each to one figure (`fit.ts` finds them again: `tdpsim paper NAME --fit`).
 * Everything else in a profile is the built-in one's.
 */
import type { MachineProfile } from '../engines/virtual/profile.ts';
import { skylake2s96, ultramem416 } from '../engines/virtual/profiles/index.ts';

export interface FittedPrices {
  /** A page walk of the guest that misses everywhere, with the access behind it: fitted to "iteration 2 dirty memory, after". */
  readonly walkLevel: number;
  /** Fitted to "iteration 1 clear, after", which splits what it clears. */
  readonly splitEntry: number;
  /** Fitted to "iteration 3 clear, before". */
  readonly spteChange: number;
  /**
   * A line from another socket, as an average: hardware serves near requests first, which the directory does not model. Fitted
   * to "iteration 2 dirty memory, before".
   */
  readonly remoteNs: number;
}

export const EAGER_SPLIT_FIT: FittedPrices = { walkLevel: 445, splitEntry: 15.8, spteChange: 33.3, remoteNs: 56.4 };

export function fittedSkylake(fit: FittedPrices): MachineProfile {
  const { walkLevel, splitEntry, spteChange, remoteNs } = fit;
  return {
    ...skylake2s96,
    transfer: { ...skylake2s96.transfer, remoteNs },
    costs: { ...skylake2s96.costs, walkLevel, splitEntry, spteChange },
  };
}

/** The large machine with the fit of the small one: a line from another socket is cheaper on average than its latency, by the same factor. */
export function fittedUltramem({ remoteNs }: FittedPrices): MachineProfile {
  const factor = remoteNs / skylake2s96.transfer.remoteNs;
  return { ...ultramem416, transfer: { ...ultramem416.transfer, remoteNs: ultramem416.transfer.remoteNs * factor } };
}
