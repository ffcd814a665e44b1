/**
 * Waits and holds of locks, by lock, mode and caller.
 *
 * Reading the clock costs more than taking a free lock. So waits are timed always, because who waits has time; of the holds
 * that follow a wait the same clock reading is the beginning. Holds of locks that were free are timed one in N, and count N
 * times; but the first of each combination are all timed, and so is the hold after a long one, so that what is rare or long
 * is told exactly.
 */
import { LOCK_NUMBERS } from '../../machine/lock-number.ts';
import type { LockMode } from '../../machine/probe.ts';
import { Distribution } from './distribution.ts';
import type { Sampler } from './sampler.ts';
import { LiveField, LOCK_SLOT_DOUBLES, LOCK_SLOTS, LockField, type StatRegion } from './stat-region.ts';

/** So many holds of each combination are timed before sampling begins. */
export const TIMED_FIRST = 64;
/** A hold of this length pays for its timing: the next one of the combination is timed as well. */
const LONG_NS = 4096;

/** Call sites are below this. */
const SITES_MAX = 128;
const KEYS = LOCK_NUMBERS * 2 * SITES_MAX;
/** The key of what found no slot of its own. */
export const OTHER_KEY = KEYS;

const keyOf = (lock: number, mode: number, site: number): number => (lock * 2 + mode) * SITES_MAX + site;

/** The combination that a key stands for. */
export function keyParts(key: number): { lock: number; mode: number; site: number } {
  const pair = Math.floor(key / SITES_MAX);
  return { lock: pair >> 1, mode: pair & 1, site: key % SITES_MAX };
}

/** Not being timed. */
const UNTIMED = -1;

export class LockRecorder {
  readonly #region: StatRegion;
  readonly #doubles: Float64Array;
  readonly #live: number;
  readonly #firstSlot: number;
  readonly #now: () => number;
  readonly #sampler: Sampler;
  /** First double of the slot of each key, or 0. */
  readonly #slots = new Int32Array(KEYS);
  readonly #waits: Distribution[] = [];
  readonly #holds: Distribution[] = [];
  /** Whether the last hold of the key was long. */
  readonly #long = new Uint8Array(KEYS);
  #slotsUsed = 0;
  #waitBegan = UNTIMED;
  /** By lock number: since when it is held, for how many such holds that stands, and the key of the combination. */
  readonly #heldSince = new Float64Array(LOCK_NUMBERS).fill(UNTIMED);
  readonly #heldWeight = new Float64Array(LOCK_NUMBERS);
  readonly #heldKey = new Int32Array(LOCK_NUMBERS);

  constructor(region: StatRegion, thread: number, now: () => number, sampler: Sampler) {
    this.#region = region;
    this.#doubles = region.doubles;
    this.#live = region.offset(thread, 'live');
    this.#firstSlot = region.offset(thread, 'locks');
    this.#now = now;
    this.#sampler = sampler;
  }

  contended(lock: number, mode: LockMode, site: number): void {
    this.#doubles[this.#live + LiveField.waitsFor] = keyOf(lock, mode, site) + 1;
    this.#waitBegan = this.#now();
  }

  acquired(lock: number, mode: LockMode, site: number): void {
    const key = keyOf(lock, mode, site);
    let slot = this.#slots[key];
    if (slot === 0) slot = this.#claim(key);
    const acquisitions = ++this.#doubles[slot + LockField.acquisitions];
    if (this.#waitBegan !== UNTIMED) this.#waited(lock, key, slot);
    else if (acquisitions <= TIMED_FIRST || this.#long[key] !== 0) this.#hold(lock, key, 1, this.#now());
    else if (this.#sampler.hit()) this.#hold(lock, key, this.#sampler.every, this.#now());
  }

  released(lock: number): void {
    const since = this.#heldSince[lock];
    if (since === UNTIMED) return;
    this.#heldSince[lock] = UNTIMED;
    const key = this.#heldKey[lock];
    const ns = this.#now() - since;
    this.#long[key] = ns >= LONG_NS ? 1 : 0;
    this.#holds[this.#slotNumber(this.#slots[key])].record(ns, this.#heldWeight[lock]);
  }

  #waited(lock: number, key: number, slot: number): void {
    const now = this.#now();
    this.#doubles[slot + LockField.contended]++;
    this.#waits[this.#slotNumber(slot)].record(now - this.#waitBegan, 1);
    this.#waitBegan = UNTIMED;
    this.#doubles[this.#live + LiveField.waitsFor] = 0;
    this.#hold(lock, key, 1, now);
  }

  #hold(lock: number, key: number, weight: number, since: number): void {
    this.#heldSince[lock] = since;
    this.#heldWeight[lock] = weight;
    this.#heldKey[lock] = key;
  }

  #slotNumber(slot: number): number {
    return (slot - this.#firstSlot) / LOCK_SLOT_DOUBLES;
  }

  /** Finds room for a combination that this thread uses for the first time. */
  #claim(key: number): number {
    if (this.#slotsUsed < LOCK_SLOTS) {
      const base = this.#firstSlot + this.#slotsUsed * LOCK_SLOT_DOUBLES;
      this.#slotsUsed++;
      this.#doubles[base + LockField.key] = 1 + (this.#slotsUsed === LOCK_SLOTS ? OTHER_KEY : key);
      this.#waits.push(new Distribution(this.#region, base + LockField.wait));
      this.#holds.push(new Distribution(this.#region, base + LockField.hold));
    }
    const slot = this.#firstSlot + (this.#slotsUsed - 1) * LOCK_SLOT_DOUBLES;
    this.#slots[key] = slot;
    return slot;
  }
}
