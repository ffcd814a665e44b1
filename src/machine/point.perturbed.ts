/**
 * Scheduling points for threads that delay at random: takes the place of `point.ts` in bundles that look for races.
 *
 * Before a shared access a thread now and then spins for a while, and sometimes sleeps, so that orders come up that an
 * undisturbed machine hardly ever shows. Private and constant words (`own`, `fixed`) are never delayed: nobody could tell.
 * Delays come from a generator with a seed per thread; the interleaving still is the operating system's.
 */

import * as direct from './point.direct.ts';
import type { Address, Granted, Step } from './point.ts';

export { bindArena, fence, fixed, own, relax, spend, wake } from './point.direct.ts';
export type { Address, Granted, Step, Task } from './point.ts';

/** Turns of the longest spinning delay. */
const SPINS_MAX = 4096;
/** One delay in so many is a sleep. */
const NAP_EVERY = 32;
/** The longest sleep, in milliseconds. */
const NAP_MS = 1;

const idle = new Int32Array(new SharedArrayBuffer(4));
let state = 1;
/** Delays happen where the generator's 32 bits are below this. */
let threshold = 0;

/** Sets this thread's generator and how likely a delay is before each access (0 to 1). */
export function bindPerturbation(seed: number, probability: number): void {
  state = Math.imul(seed + 1, 0x9e37_79b1) | 1;
  threshold = Math.min(Math.max(probability, 0), 1) * 2 ** 32;
}

/** xorshift32 */
function random(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
}

function perturb(a: Address): Granted {
  if (random() < threshold) delay();
  return a as Granted;
}

function delay(): void {
  const draw = random();
  if (draw % NAP_EVERY === 0) {
    Atomics.wait(idle, 0, 0, (random() / 2 ** 32) * NAP_MS);
  } else {
    for (let turns = draw % SPINS_MAX; turns > 0; turns--) Atomics.load(idle, 0);
  }
}

export const read = perturb;
export const write = perturb;
export const rmw = perturb;
export const count = perturb;

export const wait = (a: Address, expected: number): Step => direct.wait(perturb(a), expected);
