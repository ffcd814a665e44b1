/**
 * need_resched() for threads, true once a time slice, and giving way to those who wait.
 *
 * The real scheduler does not tell whether it wants the processor back, so a thread's slice ends by the clock. The MMU asks
 * at every step of a walk and a look at the clock costs more than the step: it is taken once in so many questions.
 */

/** Length of a time slice: that of the kernel's default scheduler at 250 Hz. */
export const SLICE_NS = 4e6;
/** Questions between two looks at the clock: some microseconds of walking. */
const QUESTIONS = 64;

export class TimeSlice {
  readonly #now: () => number;
  readonly #sliceNs: number;
  #left = QUESTIONS;
  #end: number;

  constructor(now: () => number, sliceNs = SLICE_NS) {
    this.#now = now;
    this.#sliceNs = sliceNs;
    this.#end = now() + sliceNs;
  }

  /** Whether the slice is over. A new one begins with the answer: whoever asks gives the processor away. */
  isOver(): boolean {
    if (--this.#left > 0) return false;
    this.#left = QUESTIONS;
    const now = this.#now();
    if (now < this.#end) return false;
    this.#end = now + this.#sliceNs;
    return true;
  }
}

/** How long a thread stays away from a lock that it dropped for a waiter, in milliseconds: about what getting up takes. */
const WAY_MS = 0.05;
const nobody = new Int32Array(new SharedArrayBuffer(4));

/** Sleeps long enough for a waiter to get up and take the lock. */
export function giveWay(): void {
  Atomics.wait(nobody, 0, 0, WAY_MS);
}
