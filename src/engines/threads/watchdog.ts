/**
 * Notices that nobody gets on any more: deadlock, livelock, or a thread that spins for ever while it holds what others want.
 *
 * Progress is what somebody outside could want: accesses done, faults fixed, SPTEs changed, ioctls and phases ended. Work that
 * two threads can do to each other for ever (retries, restarts, tests, exits) is none.
 */
import { allCounters } from '../../machine/counters.ts';
import type { StatRegion } from '../measure/stat-region.ts';

/** Counters that grow in a livelock, too. */
const FUTILE = new Set([
  'entriesBackedOut',
  'kicks',
  'flushRequests',
  'flushesKicked',
  'flushAcks',
  'cacheTopups',
  'pf_taken',
  'pf_spurious',
  'frozen_met_fault',
  'frozen_met_fast',
  'frozen_met_walk',
  'frozen_spins',
  'iter_steps',
  'iter_walks',
  'iter_restarts',
  'resched_tests',
  'yields_contended',
  'yields_resched',
  'exits',
  'entries',
  'fault_exits',
  'interrupt_exits',
  'tlb_flush',
  'tlb_flush_root',
  'walks',
  'walk_restarts',
]);

const isFutile = (name: string): boolean => FUTILE.has(name) || name.startsWith('retry_') || name.startsWith('cmpxchg_');

export class Watchdog {
  readonly #region: StatRegion;
  readonly #limitMs: number;
  readonly #useful: readonly number[];
  readonly #all: readonly number[];
  #moves = Number.NaN;
  #movedAtMs = 0;
  #seen = Number.NaN;
  #seenAtMs = 0;
  #events = 0;

  /** `limitMs`: how long nobody may get on; 0: for ever. */
  constructor(region: StatRegion, limitMs: number) {
    this.#region = region;
    this.#limitMs = limitMs;
    this.#all = allCounters().map(({ index }) => index);
    this.#useful = allCounters().flatMap(({ name, index }) => (isFutile(name) ? [] : [index]));
  }

  /** Something happened that no counter shows. */
  note(): void {
    this.#events++;
  }

  /** All useful work so far: grows while anybody gets on. */
  get progress(): number {
    return this.#sum(this.#useful);
  }

  #sum(indices: readonly number[]): number {
    let sum = this.#events;
    for (let thread = 0; thread < this.#region.threads; thread++) {
      const counters = this.#region.offset(thread, 'counters');
      for (const index of indices) sum += this.#region.doubles[counters + index];
    }
    return sum;
  }

  /** How long no counter at all has moved, as far as looks tell: who walks a long range is slow, but not stuck. */
  quietMs(nowMs: number): number {
    const moves = this.#sum(this.#limitMs > 0 ? this.#all : this.#useful);
    if (moves !== this.#moves) {
      this.#moves = moves;
      this.#movedAtMs = nowMs;
    }
    return nowMs - this.#movedAtMs;
  }

  /** Whether nobody has got on for the limit; `nowMs` is any clock. */
  isStalled(nowMs: number): boolean {
    const { progress } = this;
    if (progress !== this.#seen) {
      this.#seen = progress;
      this.#seenAtMs = nowMs;
    }
    return this.#limitMs > 0 && nowMs - this.#seenAtMs >= this.#limitMs;
  }
}
