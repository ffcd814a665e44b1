/**
 * Sets of cores that share a cache line: records of a few words in one growing array, reused when a line is written.
 *
 * A record is one word with a bit for each socket, then one bit for each core. Record 0 is never handed out.
 */
import type { Topology } from './topology.ts';

export class SharerSets {
  readonly #stride: number;
  readonly #socketOfCore: Int32Array;
  #words: Int32Array;
  #end: number;
  /** First free record; the first word of a free record names the next. */
  #free = 0;

  constructor(topology: Topology) {
    this.#stride = 1 + Math.ceil(topology.cores / 32);
    this.#socketOfCore = topology.socketOfCore;
    this.#words = new Int32Array(this.#stride * 64);
    this.#end = this.#stride;
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#words.byteLength;
  }

  /** A new set of two cores. */
  create(core0: number, core1: number): number {
    let set = this.#free;
    if (set !== 0) {
      this.#free = this.#words[set];
      this.#words.fill(0, set, set + this.#stride);
    } else {
      set = this.#end;
      this.#end += this.#stride;
      if (this.#end > this.#words.length) this.#grow();
    }
    this.add(set, core0);
    this.add(set, core1);
    return set;
  }

  free(set: number): void {
    this.#words[set] = this.#free;
    this.#free = set;
  }

  has(set: number, core: number): boolean {
    return ((this.#words[set + 1 + (core >> 5)] >>> (core & 31)) & 1) !== 0;
  }

  add(set: number, core: number): void {
    this.#words[set] |= 1 << this.#socketOfCore[core];
    this.#words[set + 1 + (core >> 5)] |= 1 << (core & 31);
  }

  /** The sockets with a member, one bit each. */
  sockets(set: number): number {
    return this.#words[set];
  }

  #grow(): void {
    const bigger = new Int32Array(this.#words.length * 2);
    bigger.set(this.#words);
    this.#words = bigger;
  }
}
