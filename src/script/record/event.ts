/**
 * What happened in a phase, in order: SPTE changes and the events around them, in the words of the recordings.
 */
import type { SpteRun } from './spte-run.ts';

/** An event that is no SPTE change: its name, the thread, and its fields as text. */
export interface PlainEvent {
  readonly e: string;
  readonly by: string;
  readonly fields: Readonly<Record<string, string | number>>;
  /** What tracepoints print beside it, and recordings leave out. */
  readonly detail?: Readonly<Record<string, string | number>>;
}

export interface SpteEvent {
  readonly e: 'spte';
  readonly by: string;
  readonly run: SpteRun;
}

export type PhaseEvent = PlainEvent | SpteEvent;

export const isSpteEvent = (event: PhaseEvent): event is SpteEvent => event.e === 'spte';

/** A row of a page-table dump: a table entry, or a run of leaves with equal bits. */
export interface StateRow {
  readonly gfn: number;
  readonly level: number;
  readonly table: boolean;
  readonly n: number;
  /** The entry without its PFN, hexadecimal. */
  readonly bits: string;
}

export interface CounterValue {
  readonly total: number;
  readonly delta: number;
}

/** Statistics by object (`vm`, `vcpu0`, …) and name. */
export type PhaseCounters = Readonly<Record<string, Readonly<Record<string, CounterValue>>>>;

/** Where in a phase an operation began, or ended. */
export interface PhaseCall {
  /** Index of the event that came next. */
  readonly at: number;
  /** The thread that it ran on. */
  readonly by: string;
  /** Its place among the operations of the phase. */
  readonly index: number;
  readonly ends: boolean;
}

/** All of one phase. */
export interface PhaseRecord {
  readonly n: number;
  readonly words: string;
  /** What each operation said, in the order of the script; '' for those that say nothing. */
  readonly results: readonly string[];
  readonly events: readonly PhaseEvent[];
  /** When operations began and ended, in order. */
  readonly calls: readonly PhaseCall[];
  readonly counters: PhaseCounters;
  /** The page table at the end; null without a valid root. */
  readonly end: readonly StateRow[] | null;
}

export const hex = (n: number): string => `0x${n.toString(16)}`;
