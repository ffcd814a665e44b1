/**
 * The host memory of a recorded VM: which regions its memslots refer to, and where in them each host address is.
 *
 * A trace tells host addresses, but not what lies behind them. Ranges that touch or overlap become one region, which begins on
 * a huge page so that host and guest addresses are congruent as they were; a region has huge pages if huge leaves were seen
 * in a slot that refers to it.
 */
import type { MemoryRegionConfig } from '../vm/vm-config.ts';
import { PAGE_BYTES } from './size.ts';

/** A memslot as `ioctl_memslot` tells it: pages, except for the host address. */
export interface RecordedSlot {
  readonly slot: number;
  readonly asId: number;
  readonly flags: number;
  readonly baseGfn: number;
  readonly pages: number;
  readonly hva: number;
}

const HUGE_PAGES = 512;
const GIANT_PAGES = 512 * 512;

interface Stretch {
  /** Pages of the host's address space. */
  first: number;
  end: number;
  level: number;
}

export class RecordedMemory {
  readonly regions: readonly MemoryRegionConfig[];
  readonly #stretches: readonly Stretch[];

  /**
   * @param slots all that the VM ever had
   * @param hugeLeaves leaves above 4K that were seen
   * @param type what all regions are, where the user says so
   */
  constructor(
    slots: readonly RecordedSlot[],
    hugeLeaves: readonly { gfn: number; level: number }[],
    type: MemoryRegionConfig['type'] | null,
  ) {
    const parts = slots.map((slot) => ({
      first: slot.hva / PAGE_BYTES,
      end: slot.hva / PAGE_BYTES + slot.pages,
      level: levelOf(slot, hugeLeaves),
    }));
    const unit = type === '1g' || parts.some(({ level }) => level > 2) ? GIANT_PAGES : HUGE_PAGES;
    const merged: Stretch[] = [];
    for (const part of parts.sort((a, b) => a.first - b.first)) {
      const first = Math.floor(part.first / unit) * unit;
      const last = merged.at(-1);
      if (last && first <= last.end) {
        last.end = Math.max(last.end, part.end);
        last.level = Math.max(last.level, part.level);
      } else {
        merged.push({ first, end: part.end, level: part.level });
      }
    }
    this.#stretches = merged;
    this.regions = merged.map(({ first, end, level }) => {
      const kind = type ?? (level > 2 ? '1g' : level > 1 ? 'thp' : '4k');
      const whole = kind === '1g' ? GIANT_PAGES : kind === '2m' ? HUGE_PAGES : 1;
      return { name: `0x${(first * PAGE_BYTES).toString(16)}`, type: kind, pages: Math.ceil((end - first) / whole) * whole };
    });
  }

  /** Region and page of a host address, or null where no slot ever referred to it. */
  find(hva: number): { region: number; page: number } | null {
    const page = Math.floor(hva / PAGE_BYTES);
    const region = this.#stretches.findIndex(({ first, end }) => page >= first && page < end);
    return region < 0 ? null : { region, page: page - this.#stretches[region].first };
  }

  /** The parts of host bytes [start, end) that lie in regions. */
  *within(start: number, end: number): Generator<{ region: number; page: number; pages: number }> {
    for (const [region, stretch] of this.#stretches.entries()) {
      const first = Math.max(Math.floor(start / PAGE_BYTES), stretch.first);
      const last = Math.min(Math.ceil(end / PAGE_BYTES), stretch.end);
      if (first < last) yield { region, page: first - stretch.first, pages: last - first };
    }
  }
}

function levelOf({ baseGfn, pages }: RecordedSlot, hugeLeaves: readonly { gfn: number; level: number }[]): number {
  let level = 1;
  for (const leaf of hugeLeaves) if (leaf.gfn >= baseGfn && leaf.gfn < baseGfn + pages) level = Math.max(level, leaf.level);
  return level;
}

/** Pages between two accesses beyond which they belong to different slots, where slots have to be guessed. */
const GAP_PAGES = 4096;

/** Slots for gfns that no recorded slot holds, on numbers from `firstId` on: a trace may begin after they were made. */
export function guessSlots(gfns: Iterable<number>, firstId: number): RecordedSlot[] {
  const sorted = [...new Set(gfns)].sort((a, b) => a - b);
  const slots: RecordedSlot[] = [];
  let first = Number.NaN;
  let last = Number.NaN;
  const close = (): void => {
    if (Number.isNaN(first)) return;
    const baseGfn = Math.floor(first / HUGE_PAGES) * HUGE_PAGES;
    const pages = Math.ceil((last + 1) / HUGE_PAGES) * HUGE_PAGES - baseGfn;
    // A host address that no process has, so that it stays clear of recorded ones.
    slots.push({ slot: firstId + slots.length, asId: 0, flags: 0, baseGfn, pages, hva: GUESSED_HVA + baseGfn * PAGE_BYTES });
  };
  for (const gfn of sorted) {
    if (!(gfn - last <= GAP_PAGES)) {
      close();
      first = gfn;
    }
    last = gfn;
  }
  close();
  return slots;
}

const GUESSED_HVA = 2 ** 50;
