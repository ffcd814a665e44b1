/**
 * Scheduling points for threads: what is left of `point.ts` when the coroutines are erased.
 *
 * Announcing an access is the access. Waiting is a futex; relaxing spins for a bounded time and then gives the processor
 * away, because a waiter may share its core with the one it waits for.
 */
import type { Address, Granted, Step } from './point.ts';

export type { Address, Granted, Step, Task } from './point.ts';

/** Turns that {@link wait} looks at the word before it sleeps: a lock is often handed on sooner than a futex call returns. */
const LOOKS = 50;
/** Turns that {@link relax} spins before it sleeps. */
const SPINS = 64;
/** How long {@link relax} sleeps, in milliseconds. */
const NAP_MS = 0.05;
/** How long one {@link wait} sleeps at most, in milliseconds: callers look again, so a lost wake costs this much. */
const WAIT_MS = 20;

let words = new Int32Array(new SharedArrayBuffer(4));
let spins = 0;

/** Tells the points which arena this thread works on. Called once by the worker, before anything else. */
export function bindArena(arena: Int32Array<SharedArrayBuffer>): void {
  words = arena;
}

/** The counterpart of the perturbed points' function of this name: undisturbed points have nothing to set. */
export function bindPerturbation(_seed: number, _probability: number): void {}

const announce = (a: Address): Granted => a as Granted;

export const read = announce;
export const write = announce;
export const rmw = announce;
export const count = announce;
export const own = announce;
export const fixed = announce;

export const wait = (a: Address, expected: number): Step => {
  for (let turn = 0; turn < LOOKS; turn++) {
    if (Atomics.load(words, a) !== expected) return a;
  }
  Atomics.wait(words, a, expected, WAIT_MS);
  return a;
};

export const wake = (a: Address, n: number): Step => Atomics.notify(words, a, n);

export const relax = (a: Address): Step => {
  if (++spins % SPINS === 0) Atomics.wait(words, a, words[a], NAP_MS);
  return a;
};

export const spend = (_cost: number, _n = 1): Step => 0;

/** Every atomic operation of JavaScript is a full barrier on x86; one on a private word serves. */
const barrier = new Int32Array(new SharedArrayBuffer(4));
export const fence = (): Step => Atomics.add(barrier, 0, 0);
