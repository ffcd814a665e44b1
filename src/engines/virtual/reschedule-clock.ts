/**
 * When the scheduler wants a CPU back (`need_resched()`), and how long it had to wait for that.
 *
 * Two figures a task: the longest stretch without any point at which the scheduler could have had the CPU (what the soft
 * lockup detector watches), and the longest time from a tick that asked for the CPU to the point where it was honoured.
 */
import { Cost } from '../../machine/cost.ts';
import { COST_NAMES } from './price-list.ts';

/** Costs during which, or at whose beginning, the scheduler gets the CPU where it wants it: guest, user mode, schedule(). */
const SCHEDULES: readonly Cost[] = [Cost.reschedule, Cost.syscall, Cost.vmEnter, Cost.guestAccess, Cost.walkLevel, Cost.userPage];

/** Whether a cost is such a point, by its number. */
export const SCHEDULING_COSTS: Uint8Array = Uint8Array.from(COST_NAMES, (name) => (SCHEDULES.includes(Cost[name]) ? 1 : 0));

export class RescheduleClock {
  /** The next tick of a task's CPU that asks for the CPU; ticks of all CPUs fall together. */
  readonly nextTick: Float64Array;
  readonly lastPoint: Float64Array;
  readonly stretchMax: Float64Array;
  /** When the longest stretch ended. */
  readonly stretchEnd: Float64Array;
  readonly lateMax: Float64Array;
  /** Hears of each stretch that is longer than all before it of its task, as it ends. */
  onLongest: ((task: number) => void) | null = null;
  readonly #period: number;

  constructor(capacity: number, period: number) {
    this.nextTick = new Float64Array(capacity).fill(period);
    this.lastPoint = new Float64Array(capacity);
    this.stretchMax = new Float64Array(capacity);
    this.stretchEnd = new Float64Array(capacity);
    this.lateMax = new Float64Array(capacity);
    this.#period = period;
  }

  begin(task: number, time: number): void {
    this.lastPoint[task] = time;
    this.nextTick[task] = (Math.floor(time / this.#period) + 1) * this.#period;
  }

  /** The scheduler could have had the CPU from `from` to `to`. */
  honour(task: number, from: number, to: number): void {
    const stretch = from - this.lastPoint[task];
    if (stretch > this.stretchMax[task]) {
      this.stretchMax[task] = stretch;
      this.stretchEnd[task] = from;
      if (this.onLongest !== null) this.onLongest(task);
    }
    this.lastPoint[task] = to;
    const tick = this.nextTick[task];
    if (to < tick) return;
    if (from - tick > this.lateMax[task]) this.lateMax[task] = from - tick;
    this.nextTick[task] = (Math.floor(to / this.#period) + 1) * this.#period;
  }
}
