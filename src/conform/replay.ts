/**
 * Replaying a race: the recorded order of events decides whose step is next.
 *
 * Each thread must do exactly what it did in the recording, event by event. Between two of its events a thread takes steps
 * that nobody saw (it reads an SPTE, it fills its caches), and the recording does not say how far it had come when another
 * thread went on. A plan says so for the places where it matters; everywhere else a thread waits right after its last event.
 */
import { InvariantError } from '../machine/invariant.ts';
import { StepKind } from '../machine/point.ts';
import { isSpteEvent, type PhaseEvent } from '../script/record/event.ts';
import type { Schedule } from '../script/run-script.ts';
import type { EventComparison } from './compare-events.ts';
import { eventText, runText, sameUnit, type Unit } from './compare-events.ts';
import { NOISE } from './normalize.ts';

/** Turns in which no thread may get on before the replay is given up. */
const STUCK_TURNS = 200_000;

/** A place between two events of a thread, by the number of the event that comes next. */
export const gapKey = (thread: string, next: number): string => `${thread}#${next}`;

/** Steps of a gap that a thread takes early: before others go on. */
export interface EarlySteps {
  readonly steps: number;
  /** Position in the recording that all others must have reached. */
  readonly from: number;
  /** No further than to the beginning of this access of its guest, by the number of accesses begun. */
  readonly accesses?: number;
}

/** What is early, by gap. Without an entry a thread waits, or goes on to its end where it has no more events. */
export type ReplayPlan = ReadonlyMap<string, EarlySteps>;

/** A gap, and how many steps it has. */
export interface Gap {
  readonly key: string;
  readonly steps: number;
}

/** Where a replay left the recording. */
export interface Divergence {
  readonly thread: string;
  /** Number of the thread's event. */
  readonly index: number;
  readonly expected: string;
  readonly got: string;
  /** Position of the first event that is missing. */
  readonly progress: number;
  /** The gap before the event that came: its last step made it. */
  readonly own: Gap;
  /** The gaps of the thread before that in which its guest ran, latest first. */
  readonly earlier: readonly string[];
  /** The gaps in which the other threads stand. */
  readonly others: readonly Gap[];
  /** Positions of the thread's last events, latest first, after that of the one that was due. */
  readonly recent: readonly number[];
  /** Positions of the last changes of the entries that the due fault, and the one that came instead, were about. */
  readonly clues: readonly number[];
  /** The number of the guest's access that should have faulted, if another one did. */
  readonly dueAccess: number | undefined;
}

/** What a replay asks about the threads that it runs. */
export interface ReplayThreads {
  /** What the thread stands in that others may wait for. */
  holding(name: string): Holding;
  /** Accesses that the guest of the thread's vCPU has begun. */
  accesses(name: string): number;
  /** Pages from one access to the next. */
  stride(name: string): number;
}

/** Ends a run whose replay left the recording. */
export class ReplayDiverged extends Error {
  override readonly name = 'ReplayDiverged';
  readonly divergence: Divergence;

  constructor(divergence: Divergence) {
    super(`${divergence.thread}: expected ${divergence.expected}, got ${divergence.got}`);
    this.divergence = divergence;
  }
}

interface Awaited extends Unit {
  /** Position in the recording, over all threads. */
  readonly at: number;
}

interface ReplayThread {
  readonly name: string;
  readonly awaited: readonly Awaited[];
  /** Events that it has made. */
  next: number;
  /** Steps since its last event. */
  steps: number;
  /** Its last step was a turn of waiting. */
  waits: boolean;
  /** After a divergence: the steps of its gap are known. */
  probed: boolean;
}

/** How far a gap is followed to measure it. */
const PROBE_STEPS = 20_000;
/** Positions that a divergence tells. */
const RECENT = 3;
/** Earlier gaps with a share of the guest's in them that a divergence tells. */
const EARLIER = 5;
/** Changes of one entry that a divergence tells. */
const CLUES = 4;
/** A thread without further events goes on to its end at once, unless the plan says otherwise. */
const TO_THE_END: EarlySteps = { steps: Number.POSITIVE_INFINITY, from: 0 };

/** What others may wait for a thread to leave; the more likely, the higher. */
export const Holding = { nothing: 0, guest: 1, lock: 2 } as const;
export type Holding = (typeof Holding)[keyof typeof Holding];

/** Replays one phase. */
export class PhaseReplay {
  readonly #comparison: EventComparison;
  readonly #plan: ReplayPlan;
  readonly #threads = new Map<string, ReplayThread>();
  /** Threads of the step that runs, by task. */
  #tasks: readonly ReplayThread[] = [];
  /** An event that did not fit; reported at the next turn, because listeners are called in the middle of a step. */
  #diverged: Divergence | null = null;
  #asks: ReplayThreads = { holding: () => Holding.nothing, accesses: () => 0, stride: () => 1 };
  #turn = 0;
  #stuck = 0;

  constructor(events: readonly PhaseEvent[], comparison: EventComparison, plan: ReplayPlan) {
    this.#comparison = comparison;
    this.#plan = plan;
    let at = 0;
    const queues = new Map<string, Awaited[]>();
    for (const event of events) {
      if (NOISE.has(event.e)) continue;
      const queue = queues.get(event.by) ?? [];
      queues.set(event.by, queue);
      const n = isSpteEvent(event) ? event.run.n : 1;
      const span = isSpteEvent(event) ? comparison.span(event.run.level) : 0;
      for (let i = 0; i < n; i++) queue.push({ event, pages: i * span, at: at++ });
    }
    for (const [name, awaited] of queues)
      this.#threads.set(name, { name, awaited, next: 0, steps: 0, waits: false, probed: false });
  }

  /** An event happened. */
  onEvent(event: PhaseEvent): void {
    if (NOISE.has(event.e)) return;
    const thread = this.#thread(event.by);
    if (this.#diverged !== null) {
      thread.probed = true;
      return;
    }
    const awaited = thread.awaited[thread.next];
    const got = { event, pages: 0 };
    if (awaited === undefined || !sameUnit(awaited, got, this.#comparison.renaming)) {
      this.#diverged = {
        thread: thread.name,
        index: thread.next,
        expected: awaited === undefined ? '(nothing more)' : this.#text(awaited),
        got: this.#text(got),
        progress: this.#progress(),
        own: { key: gapKey(thread.name, thread.next), steps: thread.steps },
        others: [],
        ...this.#context(thread, awaited?.event, event),
      };
      thread.probed = true;
      return;
    }
    thread.next++;
    thread.steps = 0;
  }

  /** A thread of the step is done. */
  onThreadEnd(name: string): void {
    const thread = this.#threads.get(name);
    if (this.#diverged !== null || thread === undefined || thread.next === thread.awaited.length) return;
    this.#diverged = this.#missing(thread);
  }

  /** Whether the recorded thread gave the processor up next. */
  needResched(name: string): boolean {
    const thread = this.#threads.get(name);
    return thread?.awaited[thread.next]?.event.e.startsWith('yield_') === true;
  }

  /** The schedule of a step that runs `names` side by side. */
  schedule(names: readonly string[], asks: ReplayThreads): Schedule {
    this.#tasks = names.map((name) => this.#thread(name));
    this.#asks = asks;
    return { pick: (runnable) => this.#pick(runnable), onStep: (task, kind) => this.#onStep(task, kind) };
  }

  /** Throws where the replay left the recording, or did not come to its end. */
  finish(): void {
    if (this.#diverged !== null) throw new ReplayDiverged(this.#diverged);
    for (const thread of this.#threads.values()) {
      if (thread.next < thread.awaited.length) throw new ReplayDiverged(this.#missing(thread));
    }
  }

  /** The thread has come to its end too early. */
  #missing(thread: ReplayThread): Divergence {
    const { name, awaited, next, steps } = thread;
    thread.probed = true;
    return {
      thread: name,
      index: next,
      expected: this.#text(awaited[next]),
      got: '(nothing more)',
      progress: this.#progress(),
      own: { key: gapKey(name, next), steps },
      others: [],
      ...this.#context(thread, awaited[next].event, undefined),
    };
  }

  /** After a divergence: lets each other thread go on to its next event, to learn how long the gap is that it stands in. */
  #probe(diverged: Divergence, runnable: readonly number[]): number {
    const next = runnable.findIndex((task) => {
      const thread = this.#tasks[task];
      return !thread.probed && !thread.waits && thread.steps < PROBE_STEPS;
    });
    if (next >= 0) return next;
    const others = this.#tasks.filter(({ name }) => name !== diverged.thread);
    const gaps = others.map((thread) => ({ key: gapKey(thread.name, thread.next), steps: thread.steps }));
    throw new ReplayDiverged({ ...diverged, others: gaps });
  }

  /** The position of the first event that is missing: what came before its turn does not count. */
  #progress(): number {
    let progress = Number.MAX_SAFE_INTEGER;
    for (const { awaited, next } of this.#threads.values()) progress = Math.min(progress, awaited[next]?.at ?? progress);
    return progress;
  }

  /** What may help to find out why `got` came where `due` was due. */
  #context(
    thread: ReplayThread,
    due: PhaseEvent | undefined,
    got: PhaseEvent | undefined,
  ): Pick<Divergence, 'earlier' | 'recent' | 'clues' | 'dueAccess'> {
    const { name, awaited, next } = thread;
    const at = awaited[next]?.at ?? Number.MAX_SAFE_INTEGER;
    const recent = [
      at,
      ...awaited
        .slice(Math.max(next - RECENT, 0), next)
        .map((unit) => unit.at)
        .reverse(),
    ];
    const earlier = guestGaps(awaited, next).map((gap) => gapKey(name, gap));
    const [dueGfn, gotGfn] = [faultGfn(due), faultGfn(got)];
    const clues = [dueGfn, gotGfn].flatMap((gfn) => (gfn === undefined ? [] : this.#lastChanges(gfn, at)));
    const pages = dueGfn === undefined || gotGfn === undefined ? 0 : dueGfn - gotGfn;
    const dueAccess = pages > 0 ? this.#asks.accesses(name) + pages / this.#asks.stride(name) : undefined;
    return { earlier, recent, clues: [...new Set(clues)].sort((a, b) => b - a), dueAccess };
  }

  /** Positions of the last changes, before `limit`, of entries that map `gfn`. */
  #lastChanges(gfn: number, limit: number): readonly number[] {
    const found: number[] = [];
    for (const { awaited } of this.#threads.values()) {
      for (const { event, pages, at } of awaited) {
        if (at >= limit || !isSpteEvent(event)) continue;
        const first = event.run.gfn + pages;
        if (gfn >= first && gfn < first + this.#comparison.span(event.run.level)) found.push(at);
      }
    }
    return found.sort((a, b) => b - a).slice(0, CLUES);
  }

  #thread(name: string): ReplayThread {
    let thread = this.#threads.get(name);
    if (thread === undefined)
      this.#threads.set(name, (thread = { name, awaited: [], next: 0, steps: 0, waits: false, probed: false }));
    return thread;
  }

  #onStep(task: number, kind: StepKind): void {
    const thread = this.#tasks[task];
    thread.steps++;
    thread.waits = kind === StepKind.Relax || kind === StepKind.Wait;
    this.#stuck = thread.waits ? this.#stuck + 1 : 0;
  }

  #pick(runnable: readonly number[]): number {
    if (this.#diverged !== null) return this.#probe(this.#diverged, runnable);
    this.#turn++;
    if (this.#stuck > STUCK_TURNS) throw new InvariantError('no-progress', 'the threads of a replay wait for each other');
    const first = this.#firstAwaited();
    const position = first?.awaited[first.next]?.at ?? Number.MAX_SAFE_INTEGER;
    // Somebody is in a gap of which the plan wants more steps now.
    const early = runnable.findIndex((task) => {
      const thread = this.#tasks[task];
      const plan =
        this.#plan.get(gapKey(thread.name, thread.next)) ?? (thread.next === thread.awaited.length ? TO_THE_END : null);
      if (plan === null || thread.waits || thread.steps >= plan.steps || position < plan.from) return false;
      return plan.accesses === undefined || this.#asks.accesses(thread.name) < plan.accesses;
    });
    if (early >= 0) return early;
    // The thread whose event comes next; those that have no more events are done but for steps that nobody sees.
    let best = -1;
    let bestAt = Number.POSITIVE_INFINITY;
    for (const [i, task] of runnable.entries()) {
      const thread = this.#tasks[task];
      const at = thread.awaited[thread.next]?.at ?? Number.MAX_SAFE_INTEGER;
      if (at < bestAt && !thread.waits) [best, bestAt] = [i, at];
    }
    const waiting = first !== undefined && (first.waits || !runnable.some((task) => this.#tasks[task] === first));
    if (!waiting && best >= 0) return best;
    return this.#help(runnable, first);
  }

  /** The next thread waits for somebody: those that hold something go on, a step each in turns, and it looks again. */
  #help(runnable: readonly number[], first: ReplayThread | undefined): number {
    for (const thread of this.#tasks) thread.waits = false;
    let most: Holding = Holding.nothing;
    for (const task of runnable) {
      if (this.#tasks[task] !== first) most = Math.max(most, this.#asks.holding(this.#tasks[task].name)) as Holding;
    }
    for (let i = 0; i < runnable.length; i++) {
      const index = (this.#turn + i) % runnable.length;
      const thread = this.#tasks[runnable[index]];
      if (thread !== first && this.#asks.holding(thread.name) === most) return index;
    }
    return this.#turn % runnable.length;
  }

  /** The thread of the step whose event comes next in the recording. */
  #firstAwaited(): ReplayThread | undefined {
    let first: ReplayThread | undefined;
    let firstAt = Number.POSITIVE_INFINITY;
    for (const thread of this.#tasks) {
      const at = thread.awaited[thread.next]?.at ?? Number.POSITIVE_INFINITY;
      if (at < firstAt) [first, firstAt] = [thread, at];
    }
    return first;
  }

  #text({ event, pages }: Unit): string {
    return isSpteEvent(event) ? runText(event.run, this.#comparison.kindOf(event.run), pages) : eventText(event);
  }
}

/** The gfn that a nested page fault is about. */
function faultGfn(event: PhaseEvent | undefined): number | undefined {
  return event !== undefined && !isSpteEvent(event) && event.e === 'npf' ? Number(event.fields.gfn) : undefined;
}

/** After these events a vCPU enters its guest. */
const BEFORE_GUEST = new Set(['tdp_page_fault_ret', 'kvm_mmio', 'load_root']);

/** Numbers of the events before which the guest ran, from before event `next` back. */
function guestGaps(awaited: readonly Unit[], next: number): readonly number[] {
  const gaps: number[] = [];
  for (let i = next - 1; i >= 0 && gaps.length < EARLIER; i--)
    if (i === 0 || BEFORE_GUEST.has(awaited[i - 1].event.e)) gaps.push(i);
  return gaps;
}
