/** Compares phases: calls, events, statistics, and the page table at the end. */
import type { PhaseRecord } from '../script/record/event.ts';
import { changeKinds } from '../script/record/kinds.ts';
import type { ScriptRunner } from '../script/run-script.ts';
import { IOCTL_THREAD, type Script, type ScriptPhase } from '../script/script.ts';
import { compareEvents, type EventComparison } from './compare-events.ts';
import { sameResult } from './compare-results.ts';
import { compareCounters, compareRaceCounters, compareState, type Difference } from './compare-state.ts';
import { normalizeEvents } from './normalize.ts';
import type { RecordedPhase } from './recording.ts';
import { Renaming } from './renaming.ts';

/** Where a recording and the simulator part. */
export interface Mismatch {
  readonly phase: number;
  readonly words: string;
  /** What differs: `events`, a statistic, a call. */
  readonly what: string;
  readonly expected: string;
  readonly got: string;
  /** Events that had been the same just before. */
  readonly before: readonly string[];
}

export interface ConformResult {
  readonly file: string;
  readonly kernel: string;
  readonly phases: number;
  readonly mismatch: Mismatch | null;
}

/** Operations after which the host may have given pages back. */
const HOST_CHANGES = new Set(['madvise', 'mprotect', 'munmap', 'remap', 'hosttouch', 'destroy']);

/** Whether vCPUs run side by side in the phase. */
export const isConcurrent = (phase: ScriptPhase): boolean => phase.steps.some(({ threads }) => threads.length > 1);

/** Compares the phases of a recording, one after the other, with what a run of its script does. */
export class PhaseComparer {
  readonly comparison: EventComparison;

  constructor(runner: ScriptRunner, script: Script) {
    const { kvm } = runner.machine.thread(IOCTL_THREAD).vm;
    const span = (level: number): number => kvm.geometry.span(level);
    const kinds = changeKinds(kvm);
    const lossy = script.phases.some(({ operations }) => operations.some(({ op }) => op === 'sys'));
    this.comparison = { span, renaming: new Renaming(span, lossy), kindOf: (run) => kinds.kindOf(run) };
  }

  /** Returns the first difference of a phase in which nothing runs side by side, or null. */
  compare(phase: ScriptPhase, expected: RecordedPhase, got: PhaseRecord): Mismatch | null {
    const fail = (what: string, want: string, have: string, before: readonly string[] = []): Mismatch => {
      return { phase: got.n, words: phase.words, what, expected: want, got: have, before };
    };
    const { renaming } = this.comparison;
    const copied = expected.events.some(({ e }) => e === 'unmap_gfn_range');
    if (copied || phase.operations.some(({ op }) => HOST_CHANGES.has(op))) renaming.hostChanged();
    const left = normalizeEvents(expected.events);
    const right = normalizeEvents(got.events);
    const events = compareEvents(left.events, right.events, this.comparison);
    if (events !== null) return fail('events', events.expected, events.got, events.before);
    const extra = left.extraFlushes - right.extraFlushes;
    return this.#compareRest(phase, expected, got, compareCounters(expected.counters, got.counters, extra));
  }

  /** Compares what a phase of races came to: its events were followed one by one. */
  compareOutcome(phase: ScriptPhase, expected: RecordedPhase, got: PhaseRecord): Mismatch | null {
    return this.#compareRest(phase, expected, got, compareRaceCounters(expected.counters, got.counters));
  }

  #compareRest(phase: ScriptPhase, expected: RecordedPhase, got: PhaseRecord, counters: Difference | null): Mismatch | null {
    const fail = (what: string, want: string, have: string): Mismatch => {
      return { phase: got.n, words: phase.words, what, expected: want, got: have, before: [] };
    };
    for (const [i, operation] of phase.operations.entries()) {
      if (sameResult(operation.op, expected.results[i], got.results[i])) continue;
      return fail(`result of '${operation.op}'`, expected.results[i], got.results[i]);
    }
    if (counters !== null) return fail(counters.what, counters.expected, counters.got);
    const state = compareState(expected.end, got.end, this.comparison.span);
    return state === null ? null : fail(state.what, state.expected, state.got);
  }
}
