/**
 * Seeded 32-bit random numbers: ranks that break ties of virtual time, and jitter.
 *
 * Integer arithmetic only, so that a seed means the same on every Node version.
 */

/** A well-mixed 32-bit number of two, never 0: the start of an independent stream. */
export function mixSeed(seed: number, stream: number): number {
  let x = (seed ^ Math.imul(stream + 1, 0x9e3779b9)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  x ^= x >>> 16;
  return x === 0 ? 0x6d2b79f5 : x;
}

/** The number after `x` (never 0) of a stream, in Marsaglia's xorshift with shifts 13, 17, 5; signed, never 0. */
export function nextRandom(x: number): number {
  let y = x ^ (x << 13);
  y ^= y >>> 17;
  return y ^ (y << 5);
}
