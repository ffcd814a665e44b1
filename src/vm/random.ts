/** Random numbers for guest programs: small, fast, and the same on every engine and Node for the same seed (xorshift32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    // A state of 0 would stay 0.
    this.#state = Math.imul(seed + 1, 0x9e37_79b1) | 1;
  }

  /** 32 random bits. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** A number from 0 to `n - 1`; `n` may exceed 2^32. */
  below(n: number): number {
    const unit = n <= 2 ** 32 ? this.next() / 2 ** 32 : (this.next() * 2 ** 21 + (this.next() >>> 11)) / 2 ** 53;
    return Math.floor(unit * n);
  }

  /** An index into `weights`, each as often as its weight says. */
  weighted(weights: readonly number[]): number {
    let draw = this.below(weights.reduce((sum, weight) => sum + weight, 0));
    return weights.findIndex((weight) => (draw -= weight) < 0);
  }

  /** True in `percent` of 100 cases. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}
