/**
 * A 64-bit word as two 32-bit halves.
 *
 * BigInt arithmetic costs an allocation per operation; an SPTE is decoded far more often than it is printed, so the
 * simulator carries the halves and turns to BigInt only at its edges (printing, JSON, recordings).
 */
export class Word64 {
  /** Bits 0-31, as a signed 32-bit integer. */
  readonly lo: number;
  /** Bits 32-63, as a signed 32-bit integer. */
  readonly hi: number;

  constructor(lo: number, hi: number) {
    this.lo = lo | 0;
    this.hi = hi | 0;
  }

  toString(): string {
    return hex64(this);
  }
}

export const ZERO64 = new Word64(0, 0);

export function equal64(a: Word64, b: Word64): boolean {
  return a.lo === b.lo && a.hi === b.hi;
}

/** The word with bit `n` (0-63) set alone. */
export function bit64(n: number): Word64 {
  return n < 32 ? new Word64(1 << n, 0) : new Word64(0, 1 << (n - 32));
}

export function or64(a: Word64, b: Word64): Word64 {
  return new Word64(a.lo | b.lo, a.hi | b.hi);
}

export function and64(a: Word64, b: Word64): Word64 {
  return new Word64(a.lo & b.lo, a.hi & b.hi);
}

export function andNot64(a: Word64, b: Word64): Word64 {
  return new Word64(a.lo & ~b.lo, a.hi & ~b.hi);
}

/** Whether any bit of `mask` is set in `a`. */
export function any64(a: Word64, mask: Word64): boolean {
  return ((a.lo & mask.lo) | (a.hi & mask.hi)) !== 0;
}

export function toBigInt(a: Word64): bigint {
  return (BigInt(a.hi >>> 0) << 32n) | BigInt(a.lo >>> 0);
}

export function fromBigInt(value: bigint): Word64 {
  return new Word64(Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
}

/** Lower-case hexadecimal with `0x`, without leading zeros: the form of the kernel's tracepoints. */
export function hex64(a: Word64): string {
  return `0x${toBigInt(a).toString(16)}`;
}
