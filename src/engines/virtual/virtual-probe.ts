/**
 * What only the virtual clock can tell of a task: its locks over time, and its longest RCU read-side section with the
 * operation that was under way. Everything goes on to the recorder that all engines share.
 */
import { LOCK_NUMBERS } from '../../machine/lock-number.ts';
import { LockMode, type Probe } from '../../machine/probe.ts';
import { ForwardingProbe } from './forwarding-probe.ts';
import { type LockTimeline, LockUse } from './lock-timeline.ts';

/** The longest stretch of a kind. */
export interface LongestStretch {
  ns: number;
  endNs: number;
  /** Index into the table of operations (`measure/operations.ts`). */
  operation: number;
}

export interface VirtualProbeOptions {
  readonly inner: Probe | null;
  readonly now: () => number;
  readonly timeline: LockTimeline;
  /** The operation under way. */
  readonly operation: () => number;
}

const FREE = -1;

export class VirtualProbe extends ForwardingProbe {
  readonly rcuLongest: LongestStretch = { ns: 0, endNs: 0, operation: 0 };
  readonly #now: () => number;
  readonly #timeline: LockTimeline;
  readonly #operation: () => number;
  readonly #heldSince = new Float64Array(LOCK_NUMBERS).fill(FREE);
  readonly #heldMode = new Uint8Array(LOCK_NUMBERS);
  #waitSince = FREE;
  #rcuSince = FREE;

  constructor({ inner, now, timeline, operation }: VirtualProbeOptions) {
    super(inner);
    this.#now = now;
    this.#timeline = timeline;
    this.#operation = operation;
  }

  override lockContended(lock: number, mode: LockMode, site: number): void {
    this.#waitSince = this.#now();
    super.lockContended(lock, mode, site);
  }

  override lockAcquired(lock: number, mode: LockMode, site: number): void {
    const now = this.#now();
    if (this.#waitSince !== FREE) {
      this.#timeline.add(lock, LockUse.waiting, this.#waitSince, now);
      this.#waitSince = FREE;
    }
    this.#heldSince[lock] = now;
    this.#heldMode[lock] = mode;
    super.lockAcquired(lock, mode, site);
  }

  override lockReleased(lock: number, mode: LockMode): void {
    const since = this.#heldSince[lock];
    if (since !== FREE) {
      const use = this.#heldMode[lock] === LockMode.read ? LockUse.heldRead : LockUse.heldWrite;
      this.#timeline.add(lock, use, since, this.#now());
      this.#heldSince[lock] = FREE;
    }
    super.lockReleased(lock, mode);
  }

  override rcuReadLock(): void {
    this.#rcuSince = this.#now();
    super.rcuReadLock();
  }

  override rcuReadUnlock(): void {
    const endNs = this.#now();
    const ns = endNs - this.#rcuSince;
    if (this.#rcuSince !== FREE && ns > this.rcuLongest.ns) {
      this.rcuLongest.ns = ns;
      this.rcuLongest.endNs = endNs;
      this.rcuLongest.operation = this.#operation();
    }
    this.#rcuSince = FREE;
    super.rcuReadUnlock();
  }
}
