/**
 * The thread that runs the single source: a vCPU, an ioctl caller, a worker of the host.
 *
 * Whatever differs between engines about "the current task" comes in here: its identity, its clock, whether the scheduler
 * wants the processor back. A thread's block of the arena holds the few words of it that others must see; all of them have
 * one writer, the thread itself.
 */
import type { Memory } from './memory.ts';
import { type Address, own } from './point.ts';
import type { Probe } from './probe.ts';
import type { WholeSteps } from './whole-steps.ts';

declare const threadId: unique symbol;
/** 0, 1, 2, …: the index of a thread's block in the arena. */
export type ThreadId = number & { readonly [threadId]: true };

/** Words of a thread's block. One block is {@link THREAD_WORDS} words and fills whole cache lines. */
export const ThreadWord = {
  /** RCU: even outside a read-side section, odd inside: counts entries and exits. See `rcu.ts`. */
  rcu: 0,
  /** SRCU (memslots): number of nested read-side sections under index 0 and 1. */
  srcu0: 2,
  srcu1: 4,
  /** Locks held, a bit pair each: see `heldBit`. Written by the owner, read by the watchdog. */
  held: 6,
  /** Nodes of the queued spinlock: `LOCK_NESTING` pairs of (granted, next), on a line of their own. See `queue-lock.ts`. */
  lockNodes: 16,
} as const;

/** How many queued spinlocks one thread may hold or wait for at a time. */
export const LOCK_NESTING = 4;
export const THREAD_WORDS = 32;

/** What an engine hands in for a thread. */
export interface ThreadEnvironment {
  readonly memory: Memory;
  /** Nanoseconds on the engine's clock: wall time for threads, virtual time for `virtual`, 0 for `explore`. */
  now(): number;
  /** `need_resched()`: whether the scheduler wants this processor back. */
  needResched(): boolean;
  /** Counters of this thread, one a statistic: see `counters.ts`. */
  readonly counters: Float64Array;
  /** Where locks, RCU and flushes report to, or null: nothing listens. */
  readonly probe: Probe | null;
  /**
   * Called between dropping a lock for somebody who waits and taking it again. A kernel's waiter spins and has the lock at
   * once; one that sleeps, as threads do, must be given the time to get up. Absent: waiters need none.
   */
  giveWay?(): void;
  /** Locks, grace periods and requests as one step each, where the engine can. Absent: as they are. */
  readonly whole?: WholeSteps;
  /** Fault injection: whether the next allocation that must not sleep shall fail. Absent: none does. */
  failAllocation?(): boolean;
}

/** How the thread holds one lock: as the kernel's lockdep would tell. */
export const Held = { no: 0, read: 1, write: 2 } as const;
export type Held = (typeof Held)[keyof typeof Held];

/** What a thread keeps beside the arena: as it is between two of its operations, or in the middle of one. */
export interface ThreadState {
  readonly rcuNesting: number;
  readonly rcuSequence: number;
  readonly srcuSections: readonly [number, number];
  readonly lockNodesInUse: number;
  readonly held: number;
}

export class Thread {
  readonly id: ThreadId;
  readonly name: string;
  /** The address of the thread's block. */
  readonly block: Address;
  readonly memory: Memory;
  readonly counters: Float64Array;
  readonly probe: Probe | null;
  readonly environment: ThreadEnvironment;
  readonly whole: WholeSteps | null;
  /** Depth of RCU read-side nesting; only the outermost section writes to the arena. */
  rcuNesting = 0;
  /** Entries into and exits from outermost RCU sections: what the `rcu` word holds, or will once its store is seen. */
  rcuSequence = 0;
  /** SRCU sections under index 0 and 1: likewise what the `srcu0` and `srcu1` words hold. */
  readonly srcuSections: [number, number] = [0, 0];
  /** Queue nodes of spinlocks in use: bit i for node i. */
  lockNodesInUse = 0;
  /** What this thread holds, by lock number: the same as the `held` word, private for speed. */
  #held = 0;

  constructor(id: number, name: string, block: Address, environment: ThreadEnvironment) {
    this.id = id as ThreadId;
    this.name = name;
    this.block = block;
    this.environment = environment;
    this.memory = environment.memory;
    this.counters = environment.counters;
    this.probe = environment.probe;
    this.whole = environment.whole ?? null;
  }

  now(): number {
    return this.environment.now();
  }

  needResched(): boolean {
    return this.environment.needResched();
  }

  word(index: number): Address {
    return (this.block + index) as Address;
  }

  /** Records how lock number `lock` (0-15) is held from now on. */
  setHeld(lock: number, held: Held): void {
    this.#held = (this.#held & ~(3 << (2 * lock))) | (held << (2 * lock));
    this.memory.store32(own(this.word(ThreadWord.held)), this.#held);
  }

  /** How all locks are held: bits 2n and 2n+1 are the `Held` of lock number n. */
  get heldMask(): number {
    return this.#held;
  }

  held(lock: number): Held {
    return ((this.#held >>> (2 * lock)) & 3) as Held;
  }

  /** A copy of what the thread keeps beside the arena, to go with a copy of the arena. */
  saveState(): ThreadState {
    const { rcuNesting, rcuSequence, lockNodesInUse } = this;
    return { rcuNesting, rcuSequence, srcuSections: [...this.srcuSections], lockNodesInUse, held: this.#held };
  }

  /** Goes back to `state`; the arena is put back by the caller. */
  restoreState(state: ThreadState): void {
    this.rcuNesting = state.rcuNesting;
    this.rcuSequence = state.rcuSequence;
    this.srcuSections[0] = state.srcuSections[0];
    this.srcuSections[1] = state.srcuSections[1];
    this.lockNodesInUse = state.lockNodesInUse;
    this.#held = state.held;
  }

  holdsNothing(): boolean {
    return this.#held === 0 && this.rcuNesting === 0;
  }
}
