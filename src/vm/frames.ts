/**
 * Frames of guest memory: which PFNs each page of a region can have, and the version of what a frame holds.
 *
 * PFNs from 2^20 on are guest memory (below are page-table pages). The huge zero page and the zero page come first, then the
 * regions. A region owns `frameGenerations` runs of frames, and each run has a frame for each of its pages, in order and
 * aligned to the region's huge page: pages that have the same generation are contiguous, so that they can be one huge page,
 * and a page that is dropped goes on to the next run, so that whoever still uses the old frame can be told.
 */
import { InvariantError } from '../machine/invariant.ts';
import type { Memory } from '../machine/memory.ts';
import { type Address, own } from '../machine/point.ts';
import { asPfn, type Pfn } from '../mmu/level.ts';
import { generationOf, isHuge, isZeroPage } from './host-pte.ts';
import { spanOf, type VmConfig } from './vm-config.ts';

/** The first PFN of guest memory. */
export const FIRST_GUEST_PFN = 2 ** 20;

/** Version of a frame that nobody may use: it was given back to the host, or never handed out. */
export const FREE_FRAME = -1;

/** Where the frames of one region are. */
interface Run {
  readonly base: number;
  /** Frames of one generation. */
  readonly stride: number;
}

export class FrameLayout {
  readonly generations: number;
  /** Frames in all, zero pages included. */
  readonly count: number;
  readonly hugeZero: Pfn;
  readonly zero: Pfn;
  readonly runs: readonly Run[];

  constructor(config: VmConfig) {
    const span = spanOf(config, '4k');
    this.generations = config.frameGenerations;
    this.hugeZero = asPfn(FIRST_GUEST_PFN);
    this.zero = asPfn(FIRST_GUEST_PFN + span);
    let next = FIRST_GUEST_PFN + 2 * span;
    this.runs = config.memory.map(({ type, pages }) => {
      const unit = spanOf(config, type);
      const base = Math.ceil(next / unit) * unit;
      const stride = Math.ceil(pages / unit) * unit;
      next = base + stride * config.frameGenerations;
      return { base, stride };
    });
    this.count = next - FIRST_GUEST_PFN;
  }

  /** The frame that entry `pte` gives to page `page` of region `region`, `offset` pages into the entry's range. */
  pfn(region: number, page: number, pte: number, offset: number): Pfn {
    if (isZeroPage(pte)) return asPfn(isHuge(pte) ? this.hugeZero + offset : this.zero);
    const { base, stride } = this.runs[region];
    return asPfn(base + (generationOf(pte) % this.generations) * stride + page);
  }

  isZeroFrame(pfn: Pfn): boolean {
    return pfn >= this.hugeZero && pfn <= this.zero;
  }
}

/** Versions of frames, where the configuration tracks contents. */
export class Frames {
  readonly memory: Memory;
  readonly layout: FrameLayout;
  /** Version of the first frame, 0 where contents are not tracked. */
  readonly contents: Address;

  constructor(memory: Memory, layout: FrameLayout, contents: Address) {
    this.memory = memory;
    this.layout = layout;
    this.contents = contents;
  }

  get tracked(): boolean {
    return this.contents !== 0;
  }

  /** Address of the version of frame `pfn`. Errors: pfn-not-guest-memory. */
  contentWord(pfn: Pfn): Address {
    const index = pfn - FIRST_GUEST_PFN;
    if (index < 0 || index >= this.layout.count) {
      throw new InvariantError('pfn-not-guest-memory', `frame ${pfn} is no guest memory`);
    }
    return (this.contents + index) as Address;
  }

  /** Gives `count` frames from `pfn` on to a page that the host has just zeroed. The caller holds the page-table lock. */
  allocate(pfn: Pfn, count: number): void {
    if (this.tracked) this.memory.fill32(own(this.contentWord(pfn)), 0, count);
  }

  /** Takes `count` frames from `pfn` on back. Nobody may use them any more. */
  free(pfn: Pfn, count: number): void {
    if (this.tracked) this.memory.fill32(own(this.contentWord(pfn)), FREE_FRAME, count);
  }

  /** Copies a page; the source is the host's again. A page may stay where it is. */
  move(from: Pfn, to: Pfn): void {
    if (!this.tracked || from === to) return;
    this.memory.store32(own(this.contentWord(to)), this.memory.load32(own(this.contentWord(from))));
    if (!this.layout.isZeroFrame(from)) this.free(from, 1);
  }
}
