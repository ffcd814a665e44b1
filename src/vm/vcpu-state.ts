/**
 * What a vCPU keeps beside the arena, saved and put back: with a copy of the arena it makes a vCPU go on from where it was.
 *
 * Its fault and its walk are not part of it: both begin anew with the next fault.
 */
import type { Address } from '../machine/point.ts';
import type { Gfn } from '../mmu/level.ts';
import type { Vcpu } from './vcpu.ts';

export interface VcpuState {
  readonly root: number;
  readonly prevRoots: Int32Array;
  readonly asId: number;
  readonly guestMode: boolean;
  readonly mmio: readonly [Gfn, number];
  /** Page-table pages at hand. */
  readonly pages: readonly number[];
  readonly tlb: readonly [number, number];
  readonly pwc: readonly [number, boolean];
  readonly walker: { readonly root: number; readonly pmlEnabled: boolean; readonly entry: Address };
  readonly inGuest: boolean;
  readonly mustFetch: boolean;
  readonly resetFlush: boolean;
  readonly version: number;
}

export function saveVcpu(vcpu: Vcpu): VcpuState {
  const { mmu, walker } = vcpu;
  return {
    root: mmu.root,
    prevRoots: mmu.prevRoots.slice(),
    asId: mmu.asId,
    guestMode: mmu.guestMode,
    mmio: [mmu.mmioGfn, mmu.mmioGeneration],
    pages: [...mmu.pageCache.pages],
    tlb: vcpu.tlb.saveState(),
    pwc: vcpu.pwc.saveState(),
    walker: { root: walker.root, pmlEnabled: walker.pmlEnabled, entry: walker.entry },
    inGuest: vcpu.inGuest,
    mustFetch: vcpu.mustFetch,
    resetFlush: vcpu.resetFlush,
    version: vcpu.version,
  };
}

/** Puts the vCPU back to `state`; the arena is put back by the caller. */
export function restoreVcpu(vcpu: Vcpu, state: VcpuState): void {
  const { mmu, walker } = vcpu;
  mmu.root = state.root;
  mmu.prevRoots.set(state.prevRoots);
  mmu.asId = state.asId;
  mmu.guestMode = state.guestMode;
  [mmu.mmioGfn, mmu.mmioGeneration] = state.mmio;
  const { pages } = mmu.pageCache;
  pages.length = state.pages.length;
  for (let i = 0; i < pages.length; i++) pages[i] = state.pages[i];
  vcpu.tlb.restoreState(state.tlb);
  vcpu.pwc.restoreState(state.pwc);
  walker.root = state.walker.root;
  walker.pmlEnabled = state.walker.pmlEnabled;
  walker.entry = state.walker.entry;
  vcpu.inGuest = state.inGuest;
  vcpu.mustFetch = state.mustFetch;
  vcpu.resetFlush = state.resetFlush;
  vcpu.version = state.version;
}
