/**
 * Compares the events of two phases: the same in the same order, SPTE changes entry by entry and with all bits, frames up
 * to a consistent renaming.
 */
import { hex64, type Word64 } from '../machine/word64.ts';
import { hex, isSpteEvent, type PhaseEvent, type PlainEvent } from '../script/record/event.ts';
import { type SpteRun, shiftPfn } from '../script/record/spte-run.ts';
import type { Renaming } from './renaming.ts';

/** The first difference: what was expected and what came, with what had been the same just before. */
export interface EventDifference {
  readonly expected: string;
  readonly got: string;
  readonly before: readonly string[];
}

/** Lines of context in a difference. */
const CONTEXT = 4;

export interface EventComparison {
  readonly span: (level: number) => number;
  readonly renaming: Renaming;
  readonly kindOf: (run: SpteRun) => string;
}

/** Returns the first difference, or null. */
export function compareEvents(
  expected: readonly PhaseEvent[],
  got: readonly PhaseEvent[],
  comparison: EventComparison,
): EventDifference | null {
  const left = new Cursor(expected, comparison);
  const right = new Cursor(got, comparison);
  /** The last places passed: their texts are made only for a difference. */
  const passed: Place[] = [];
  while (!left.done || !right.done) {
    if (!same(left, right, comparison.renaming)) {
      return { expected: left.text(), got: right.text(), before: passed.slice(-CONTEXT).map((place) => left.text(place)) };
    }
    passed.push(left.place);
    if (passed.length > 4 * CONTEXT) passed.splice(0, 3 * CONTEXT);
    left.advance();
    right.advance();
  }
  return null;
}

/** An event, and how many entries of its run were passed. */
interface Place {
  readonly index: number;
  readonly within: number;
}

/** Goes over a list of events, one entry of a run at a time. */
class Cursor {
  readonly #events: readonly PhaseEvent[];
  readonly #comparison: EventComparison;
  #index = 0;
  /** Entries of the run that were passed. */
  #within = 0;

  constructor(events: readonly PhaseEvent[], comparison: EventComparison) {
    this.#events = events;
    this.#comparison = comparison;
  }

  get done(): boolean {
    return this.#index >= this.#events.length;
  }

  get event(): PhaseEvent {
    return this.#events[this.#index];
  }

  /** Pages from the beginning of the run. */
  get pages(): number {
    const { event } = this;
    return isSpteEvent(event) ? this.#within * this.#comparison.span(event.run.level) : 0;
  }

  advance(): void {
    const { event } = this;
    if (isSpteEvent(event) && ++this.#within < event.run.n) return;
    this.#within = 0;
    this.#index++;
  }

  get place(): Place {
    return { index: this.#index, within: this.#within };
  }

  text({ index, within } = this.place): string {
    const event = this.#events.at(index);
    if (event === undefined) return '(nothing more)';
    if (!isSpteEvent(event)) return eventText(event);
    return runText(event.run, this.#comparison.kindOf(event.run), within * this.#comparison.span(event.run.level));
  }
}

function same(left: Cursor, right: Cursor, renaming: Renaming): boolean {
  if (left.done || right.done) return false;
  return sameUnit({ event: left.event, pages: left.pages }, { event: right.event, pages: right.pages }, renaming);
}

/** An event, or one entry of a run: so many pages into it. */
export interface Unit {
  readonly event: PhaseEvent;
  readonly pages: number;
}

/** Whether two units are the same but for names. */
export function sameUnit(expected: Unit, got: Unit, renaming: Renaming): boolean {
  const a = expected.event;
  const b = got.event;
  if (isSpteEvent(a) && isSpteEvent(b)) return sameChange(a.run, expected.pages, b.run, got.pages, renaming);
  if (isSpteEvent(a) || isSpteEvent(b)) return false;
  if (a.e === 'fast_page_fault' && b.e === 'fast_page_fault') return sameFastFault(a, b);
  return eventText(a) === eventText(b);
}

function sameChange(a: SpteRun, aPages: number, b: SpteRun, bPages: number, renaming: Renaming): boolean {
  if (a.asId !== b.asId || a.level !== b.level || a.by !== b.by || a.fast !== b.fast) return false;
  if (a.gfn + aPages !== b.gfn + bPages) return false;
  const old = valueAt(a.old, a.stepOld, aPages);
  const next = valueAt(a.next, a.stepNew, aPages);
  const place = { asId: a.asId, gfn: a.gfn + aPages, level: a.level };
  if (!renaming.matchesOld(old, valueAt(b.old, b.stepOld, bPages), place)) return false;
  return renaming.matchesNew(next, valueAt(b.next, b.stepNew, bPages), place);
}

const valueAt = (spte: Word64, moves: boolean, pages: number): Word64 => (moves ? shiftPfn(spte, pages) : spte);

/** Frames of fast faults are compared with the change that follows, or were with the one that made the entry. */
function sameFastFault(a: PlainEvent, b: PlainEvent): boolean {
  const bits = ({ fields }: PlainEvent): string => {
    const { old, new: next, ...rest } = fields;
    const low = (value: unknown): string => (BigInt(String(value)) & 0xfff0_0000_0000_0fffn).toString(16);
    return `${JSON.stringify(rest)} ${low(old)} ${low(next)}`;
  };
  return a.by === b.by && bits(a) === bits(b);
}

/** An event in one line; what differs for no reason of the MMU's is left out. */
export function eventText(event: PlainEvent): string {
  const fields = Object.entries(event.fields).map(([key, value]) => {
    if (event.e === 'kvm_mmio') return String(value).replace(/ val 0x[0-9a-f]+$/, '');
    if (event.e === 'kvm_dirty_ring_push')
      return String(value)
        .replace(/ reset 0x[0-9a-f]+/, '')
        .replace(/ \(used \d+\)$/, '');
    return key === 'text' ? String(value) : `${key}=${value}`;
  });
  return `${event.by}: ${[event.e, ...fields].join(' ')}`;
}

/** A change in one line: `pages` into its run. */
export function runText(run: SpteRun, kind: string, pages = 0): string {
  const old = hex64(valueAt(run.old, run.stepOld, pages));
  const next = hex64(valueAt(run.next, run.stepNew, pages));
  const fast = run.fast ? ' (without mmu_lock)' : '';
  return `${run.by}: SPTE as ${run.asId} gfn ${hex(run.gfn + pages)} level ${run.level} ${old} -> ${next} ${kind}${fast}`;
}
