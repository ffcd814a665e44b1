/**
 * What virtual time goes to: one row of picoseconds a task, one column a cause.
 *
 * Columns: the costs of `cost.ts` in their order, the causes of {@link Cause}, then one column a label of words that tasks
 * wait for. A task's row adds up to its life, always; a test holds the engine to that.
 */
import { COST_NAMES } from './price-list.ts';

const BASE = COST_NAMES.length;

export const Cause = {
  /** Accesses that hit: loads, stores, atomic operations once the line is there. */
  access: BASE,
  /** The line's way to the CPU. */
  lineTransfer: BASE + 1,
  /** The line is on its way to somebody else first, or the store buffer is full of such lines. */
  lineQueue: BASE + 2,
  /** Full barriers, the draining of the store buffer included. */
  fence: BASE + 3,
  /** PAUSE in spin loops that had not begun to wait. */
  relax: BASE + 4,
  /** Runnable, but another task has the CPU. */
  runnable: BASE + 5,
  /** Switching tasks. */
  contextSwitch: BASE + 6,
  /** Waking sleepers. */
  wake: BASE + 7,
  /** From a wake-up to the first step. */
  wakeup: BASE + 8,
  /** First column of the labels. */
  waiting: BASE + 9,
} as const;

/** Names of the columns before the labels. */
export const CAUSE_NAMES: readonly string[] = [
  ...COST_NAMES,
  'access',
  'lineTransfer',
  'lineQueue',
  'fence',
  'relax',
  'runnable',
  'contextSwitch',
  'wake',
  'wakeup',
];
