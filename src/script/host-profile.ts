/**
 * The machine on which the recorded scripts ran, as far as a script can tell: what differs from one recorded host to the
 * other and is no behaviour of the MMU.
 */
import type { KernelName } from '../mmu/generation.ts';

export interface HostProfile {
  /** Whether reclaim ages pages by walking page tables (multi-generational LRU), and so asks KVM about each. */
  readonly reclaimWalksTables: boolean;
}

const older: HostProfile = { reclaimWalksTables: false };
const newer: HostProfile = { reclaimWalksTables: true };

export const HOST_PROFILES: Readonly<Record<KernelName, HostProfile>> = {
  '5.15': older,
  '5.18': older,
  '6.1': older,
  '6.12': newer,
  '6.13': newer,
};
