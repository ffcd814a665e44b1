/** Which leaves a recording of a running VM must have begun with: what the first change of each entry shows to have been there. */
import { isLastSpte, isShadowPresent, type Spte } from '../mmu/spte.ts';
import type { SpteChangeEvent } from './ftrace-line.ts';

/** A leaf that was there before the recording began. */
export interface InitialLeaf {
  readonly asId: number;
  readonly gfn: number;
  readonly level: number;
  readonly writable: boolean;
}

const LEVEL_BITS = 9;
const WRITABLE = 1 << 1;
const HOST_WRITABLE = 1 << 9;

const isTable = (spte: Spte, level: SpteChangeEvent['level']): boolean => isShadowPresent(spte) && !isLastSpte(spte, level);
const isLeaf = (spte: Spte, level: SpteChangeEvent['level']): boolean => isShadowPresent(spte) && isLastSpte(spte, level);

export class InitialLeaves {
  readonly leaves: InitialLeaf[] = [];
  /** Entries that were seen, and tables that came later: what is below those was not there before. */
  readonly #seen = new Set<string>();
  readonly #linked = new Set<string>();

  add({ asId, gfn, level, old, next }: SpteChangeEvent): void {
    const key = `${asId}:${level}:${gfn}`;
    if (isTable(next, level)) this.#linked.add(key);
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    if (!isLeaf(old, level) || this.#isBelowNewTable(asId, gfn, level)) return;
    this.leaves.push({ asId, gfn, level, writable: (old.lo & (WRITABLE | HOST_WRITABLE)) !== 0 });
  }

  #isBelowNewTable(asId: number, gfn: number, level: number): boolean {
    for (let above = level + 1; above <= 3; above++) {
      const span = 2 ** (LEVEL_BITS * (above - 1));
      if (this.#linked.has(`${asId}:${above}:${Math.floor(gfn / span) * span}`)) return true;
    }
    return false;
  }
}
