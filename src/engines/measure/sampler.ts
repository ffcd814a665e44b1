/**
 * Which of many cheap events are timed: on average one in N, at random distances, so that no rhythm of the program can hide.
 */
export class Sampler {
  /** Mean distance of samples: what one sample stands for. */
  readonly every: number;
  #state: number;
  #left: number;

  /** `every`: a power of two; 1 takes every event. */
  constructor(every: number, seed: number) {
    this.every = every;
    this.#state = Math.imul(seed + 1, 0x9e37_79b1) | 1;
    this.#left = this.#distance();
  }

  /** Whether this event is to be timed. */
  hit(): boolean {
    if (--this.#left > 0) return false;
    this.#left = this.#distance();
    return true;
  }

  /** 1 to 2N - 1, uniformly: N on average (xorshift32). */
  #distance(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return 1 + ((state >>> 0) % (2 * this.every - 1));
  }
}
