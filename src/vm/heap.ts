/**
 * A heap in the arena: dirty bitmaps and host page tables come and go while the VM runs (kernel: kvmalloc, kvfree).
 *
 * Blocks are whole cache lines. A free block is filled with poison, which is looked at when the block is handed out again,
 * so a write to freed memory is found. Blocks are reused by exact size first, then from fresh memory, then by cutting a
 * larger one; they are not joined again, because the few sizes of a VM recur.
 */
import { LINE_WORDS } from '../machine/arena.ts';
import { InvariantError, invariant } from '../machine/invariant.ts';
import { LockNumber } from '../machine/lock-number.ts';
import type { Memory } from '../machine/memory.ts';
import { type Address, own, type Task } from '../machine/point.ts';
import { SPINLOCK_WORDS, SpinLock, spinLock, spinUnlock } from '../machine/spinlock.ts';
import type { Thread } from '../machine/thread.ts';
import { Site } from '../mmu/site.ts';

/** The heap's own words, before its blocks. */
const HeapWord = {
  /** First free block, or 0. */
  freeHead: SPINLOCK_WORDS,
  /** Words handed out from fresh memory so far. */
  fresh: SPINLOCK_WORDS + 1,
  /** Words in use. */
  used: SPINLOCK_WORDS + 2,
} as const;

/** Words of the heap that are not for its users. */
export const HEAP_HEAD_WORDS = SPINLOCK_WORDS + LINE_WORDS;

/** Words of a free block. */
const BlockWord = { next: 0, words: 1, poison: 2 } as const;

const POISON = 0x5a5a_5a5b;

export const heapBlockWords = (words: number): number => Math.max(1, Math.ceil(words / LINE_WORDS)) * LINE_WORDS;

export class Heap {
  readonly memory: Memory;
  readonly lock: SpinLock;
  readonly base: Address;
  /** Words for blocks. */
  readonly words: number;

  /** `base`: first of {@link HEAP_HEAD_WORDS} + `words` words, all 0 at the start. */
  constructor(memory: Memory, base: Address, words: number) {
    this.memory = memory;
    this.base = base;
    this.words = words;
    this.lock = new SpinLock(base, LockNumber.allocator);
  }

  word(index: number): Address {
    return (this.base + index) as Address;
  }

  get blocks(): Address {
    return (this.base + HEAP_HEAD_WORDS) as Address;
  }

  /** Words in use, for checks and reports. */
  usedWords(): number {
    return this.memory.load32(own(this.word(HeapWord.used)));
  }
}

/** A block of `words` zeros, or 0 where there is no room. */
export function* heapAlloc(heap: Heap, thread: Thread, words: number): Task<Address> {
  const size = heapBlockWords(words);
  yield* spinLock(heap.lock, thread, Site.alloc_pages);
  const block = (takeFree(heap, size, true) || takeFresh(heap, size) || takeFree(heap, size, false)) as Address;
  if (block !== 0) addUsed(heap, size);
  yield* spinUnlock(heap.lock, thread);
  if (block !== 0) heap.memory.fill32(own(block), 0, size);
  return block;
}

/** Gives back the block of `words` words at `block`. Nobody can reach it any more. */
export function* heapFree(heap: Heap, thread: Thread, block: Address, words: number): Task<void> {
  const size = heapBlockWords(words);
  const inside = block >= heap.blocks && block + size <= heap.blocks + heap.words;
  invariant(inside && (block - heap.blocks) % LINE_WORDS === 0, 'heap-free', `${thread.name} frees ${block}, which is no block`);
  poison(heap, block, size);
  yield* spinLock(heap.lock, thread, Site.alloc_pages);
  for (let b = load(heap, heap.word(HeapWord.freeHead)); b !== 0; b = load(heap, at(b, BlockWord.next))) {
    if (b === block) throw new InvariantError('double-free', `${thread.name} frees the block at ${block} a second time`);
  }
  store(heap, at(block, BlockWord.next), load(heap, heap.word(HeapWord.freeHead)));
  store(heap, heap.word(HeapWord.freeHead), block);
  addUsed(heap, -size);
  yield* spinUnlock(heap.lock, thread);
}

const at = (block: number, index: number): Address => (block + index) as Address;
const load = (heap: Heap, a: Address): number => heap.memory.load32(own(a));
const store = (heap: Heap, a: Address, value: number): void => heap.memory.store32(own(a), value);

function addUsed(heap: Heap, words: number): void {
  store(heap, heap.word(HeapWord.used), load(heap, heap.word(HeapWord.used)) + words);
}

function poison(heap: Heap, block: number, size: number): void {
  store(heap, at(block, BlockWord.words), size);
  heap.memory.fill32(own(at(block, BlockWord.poison)), POISON, size - BlockWord.poison);
}

/** Takes a free block of exactly `size` words or, if not `exact`, cuts one from a larger block. */
function takeFree(heap: Heap, size: number, exact: boolean): number {
  let link = heap.word(HeapWord.freeHead);
  for (let block = load(heap, link); block !== 0; block = load(heap, link)) {
    const words = load(heap, at(block, BlockWord.words));
    if (words === size || (!exact && words > size)) {
      checkPoison(heap, block, words);
      store(heap, link, load(heap, at(block, BlockWord.next)));
      if (words > size) {
        const rest = at(block, size);
        poison(heap, rest, words - size);
        store(heap, at(rest, BlockWord.next), load(heap, heap.word(HeapWord.freeHead)));
        store(heap, heap.word(HeapWord.freeHead), rest);
      }
      return block;
    }
    link = at(block, BlockWord.next);
  }
  return 0;
}

function checkPoison(heap: Heap, block: number, words: number): void {
  for (let i: number = BlockWord.poison; i < words; i++) {
    const seen = load(heap, at(block, i));
    invariant(seen === POISON, 'use-after-free', `word ${i} of the free block at ${block} was written: ${seen}`);
  }
}

function takeFresh(heap: Heap, size: number): number {
  const fresh = load(heap, heap.word(HeapWord.fresh));
  if (fresh + size > heap.words) return 0;
  store(heap, heap.word(HeapWord.fresh), fresh + size);
  return heap.blocks + fresh;
}
