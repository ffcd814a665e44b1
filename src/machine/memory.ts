/**
 * The shared arena, as the single source sees it: words that are loaded, stored and exchanged by granted address.
 *
 * Every access takes a {@link Granted} address, so one that was not announced to the engine does not compile. Addresses
 * count 32-bit words; a 64-bit word lives at an even address. `load64` may be assembled from two halves: it never invents a
 * half, but may pair halves of two successive values, so decisions that matter rest on the low half (the control bits and
 * a table pointer fit into it) or are confirmed by the `cmpxchg64` that follows.
 */
import type { Granted } from './point.ts';
import type { Word64 } from './word64.ts';

export interface Memory {
  load32(a: Granted): number;
  /** A plain store with release order. */
  store32(a: Granted, value: number): void;
  /** Returns the value seen: `expected` where the exchange took place. */
  cmpxchg32(a: Granted, expected: number, next: number): number;
  /** Returns the old value. */
  xchg32(a: Granted, next: number): number;
  /** Returns the old value. */
  add32(a: Granted, delta: number): number;
  /** Returns the old value. */
  and32(a: Granted, mask: number): number;
  /** Returns the old value. */
  or32(a: Granted, mask: number): number;

  load64(a: Granted): Word64;
  store64(a: Granted, value: Word64): void;
  /** Returns the value seen: the very object `expected` where the exchange took place, another one where it did not. */
  cmpxchg64(a: Granted, expected: Word64, next: Word64): Word64;
  /** Returns the old value. */
  xchg64(a: Granted, next: Word64): Word64;
  /** Returns the old value. */
  and64(a: Granted, mask: Word64): Word64;

  /** Stores `value` into `n` 64-bit words from `a` on. The caller owns them all. */
  fill64(a: Granted, value: Word64, n: number): void;
  /** Stores `value` into `n` 32-bit words from `a` on. The caller owns them all. */
  fill32(a: Granted, value: number, n: number): void;
}
