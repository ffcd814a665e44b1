/** What programs draw and note besides their steps: random numbers that can be repeated, and marks. */
import type { ProgramContext } from './program.ts';

/** Numbers by xorshift32, seeded per execution. */
export class DrawnContext implements ProgramContext {
  /** Whether the execution drew a number. */
  used = false;
  readonly marks = new Set<string>();
  #state = 1;

  seed(seed: number): void {
    this.used = false;
    this.#state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  }

  random(): number {
    this.used = true;
    let s = this.#state;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    this.#state = s;
    return s >>> 0;
  }

  mark(name: string): void {
    this.marks.add(name);
  }
}
