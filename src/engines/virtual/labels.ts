/**
 * Names for words that tasks wait for, so that reports say "mmu_lock" instead of an address.
 */
import type { Address } from '../../machine/point.ts';

/** A stretch of the arena whose waiters are counted together. Several stretches may bear one name. */
export interface WordLabel {
  readonly name: string;
  readonly base: Address;
  readonly words: number;
  /** Waiters give their CPU away until somebody wakes them (a mutex), instead of spinning on their cache's copy. */
  readonly sleeps?: boolean;
}

/** The name of words without a label. */
export const UNLABELLED = 'other';

export class LabelMap {
  /** Distinct names: {@link UNLABELLED}, those of the labels, those without a word of their own. */
  readonly names: readonly string[];
  readonly #bases: number[];
  readonly #ends: number[];
  readonly #columns: number[];
  readonly #sleeps: boolean[];

  /** `others` are names for waits that words do not tell. @throws RangeError where two stretches overlap. */
  constructor(labels: readonly WordLabel[], others: readonly string[] = []) {
    const sorted = [...labels].sort((a, b) => a.base - b.base);
    const names = [UNLABELLED];
    for (const name of [...labels.map((label) => label.name), ...others]) if (!names.includes(name)) names.push(name);
    this.names = names;
    this.#bases = sorted.map((label) => label.base);
    this.#ends = sorted.map((label) => label.base + label.words);
    this.#columns = sorted.map((label) => names.indexOf(label.name));
    this.#sleeps = sorted.map((label) => label.sleeps === true);
    for (let i = 1; i < sorted.length; i++) {
      if (this.#bases[i] < this.#ends[i - 1]) {
        throw new RangeError(`the words labelled ${sorted[i].name} overlap those labelled ${sorted[i - 1].name}`);
      }
    }
  }

  /** The index into {@link names} of the word at `a`. */
  columnOf(a: number): number {
    const i = this.#find(a);
    return i < 0 ? 0 : this.#columns[i];
  }

  nameOf(a: number): string {
    return this.names[this.columnOf(a)];
  }

  sleepsAt(a: number): boolean {
    const i = this.#find(a);
    return i >= 0 && this.#sleeps[i];
  }

  /** The stretch that holds `a`, or -1. */
  #find(a: number): number {
    let low = 0;
    let high = this.#bases.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#bases[middle] <= a) low = middle + 1;
      else high = middle;
    }
    return low > 0 && a < this.#ends[low - 1] ? low - 1 : -1;
  }
}
