/**
 * Memory as x86 shows it (total store order): plain stores wait in a first-in-first-out buffer of their thread, which sees
 * them itself at once (forwarding), and reach memory when the scheduler drains them. Atomic operations and fences find
 * the buffer empty: the execution sees to that.
 *
 * Only stores that were announced by `write` are buffered. Stores to words that the thread owns go straight to memory,
 * for nobody can tell, unless an older store to the same word is still in the buffer.
 */
import type { Granted } from '../../machine/point.ts';
import { Word64 } from '../../machine/word64.ts';
import { TrackedMemory } from './tracked-memory.ts';

/** One store that waits. */
export interface BufferedStore {
  readonly address: number;
  readonly wide: boolean;
  readonly lo: number;
  readonly hi: number;
  /** The thread's last step before the store (index in the execution), or -1: what the drain happens after. */
  readonly after: number;
}

export class BufferedMemory extends TrackedMemory {
  readonly buffers: BufferedStore[][];
  /** The thread that runs. */
  current = 0;
  /** Index of its last step. */
  currentAfter = -1;
  /** The address that an announced plain store was granted, or -1. */
  buffering = -1;

  constructor(words: number, threads: number) {
    super(words);
    this.buffers = Array.from({ length: threads }, () => []);
  }

  override restore(): void {
    for (const b of this.buffers) b.length = 0;
    super.restore();
  }

  /** Moves the oldest store of `thread` to memory. */
  drain(thread: number): BufferedStore {
    const store = this.buffers[thread].shift() as BufferedStore;
    const { address } = store;
    this.touch(address);
    this.words[address] = store.lo;
    if (store.wide) this.words[address + 1] = store.hi;
    return store;
  }

  /** The word at `a` as the running thread sees it. */
  #see(a: number): number {
    const buffer = this.buffers[this.current];
    for (let i = buffer.length - 1; i >= 0; i--) {
      const b = buffer[i];
      if (b.address === a) return b.lo;
      if (b.wide && b.address + 1 === a) return b.hi;
    }
    return this.words[a];
  }

  #mustBuffer(a: number, wide: boolean): boolean {
    if (a === this.buffering) {
      this.buffering = -1;
      return true;
    }
    return this.buffers[this.current].some((b) => b.address >> 1 === a >> 1 || (wide && b.address >> 1 === (a + 1) >> 1));
  }

  override load32(a: Granted): number {
    return this.#see(a);
  }

  override load64(a: Granted): Word64 {
    return new Word64(this.#see(a), this.#see(a + 1));
  }

  override store32(a: Granted, value: number): void {
    if (!this.#mustBuffer(a, false)) super.store32(a, value);
    else this.buffers[this.current].push({ address: a, wide: false, lo: value | 0, hi: 0, after: this.currentAfter });
  }

  override store64(a: Granted, value: Word64): void {
    if (!this.#mustBuffer(a, true)) super.store64(a, value);
    else this.buffers[this.current].push({ address: a, wide: true, lo: value.lo, hi: value.hi, after: this.currentAfter });
  }
}
