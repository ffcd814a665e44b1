/**
 * Waiting for a point in time (usleep of the selftests' main threads).
 *
 * On the virtual clock, time passes by spending it; on threads, where spending costs nothing, by sleeping. A thread tells the
 * two apart by looking at its clock.
 */
import { Cost } from '../../machine/cost.ts';
import { spend, type Task } from '../../machine/point.ts';
import type { Thread } from '../../machine/thread.ts';
import type { Control } from './control.ts';

const SLEEP_MS = 0.05;
/** The least price of a turn of the loop, in ns, on a clock that is a model. */
const TURN_NS = 1000;
const TURNS = 10;

const nobody = new Int32Array(new SharedArrayBuffer(4));

/** Waits until the clock of `thread` shows `untilNs`, or the run is stopped. */
export function* pauseUntil(thread: Thread, control: Control, untilNs: number): Task<void> {
  for (;;) {
    const before = thread.now();
    // A clock that always shows 0 never gets there.
    if (before >= untilNs || before === 0 || (yield* control.stopped())) return;
    yield spend(Cost.reschedule, TURNS);
    if (thread.now() - before < TURN_NS) Atomics.wait(nobody, 0, 0, Math.min(SLEEP_MS, (untilNs - before) / 1e6));
  }
}
