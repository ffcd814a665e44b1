/**
 * Conformance of recordings in which threads race: such a recording is one sample of many. It conforms if the simulator can
 * do exactly what each thread did, in the recorded order, and arrives at the recorded page table and statistics.
 */
import { InvariantError } from '../machine/invariant.ts';
import type { ScriptMachine } from '../script/machine.ts';
import { RUN_DEFAULTS, ScriptRunner } from '../script/run-script.ts';
import type { ScriptPhase, ScriptStep } from '../script/script.ts';
import { VcpuCounter } from '../vm/vcpu-counters.ts';
import { type ConformResult, isConcurrent, type Mismatch, PhaseComparer } from './phase-comparer.ts';
import type { RecordedPhase, Recording } from './recording.ts';
import {
  type Divergence,
  type EarlySteps,
  Holding,
  PhaseReplay,
  ReplayDiverged,
  type ReplayPlan,
  type ReplayThreads,
} from './replay.ts';

/** Runs that are tried before a recording counts as one that cannot be produced. */
const ATTEMPTS_MAX = 600;

/** Events before a change at which a thread may do what it did before the change. */
const CLUE_DISTANCES = [0, 1, 3, 8];

/** One thing to try: steps of a gap taken early. */
interface Candidate {
  readonly key: string;
  readonly early: EarlySteps;
}

/** A divergence, and what was tried against it so far. */
interface Frame {
  readonly phase: number;
  readonly progress: number;
  /** The gap before the event that did not fit, and that event. */
  readonly trouble: string;
  readonly candidates: Candidate[];
  /** What the plan said of the candidate's gap before. */
  undo: { readonly key: string; readonly early: EarlySteps | undefined } | null;
}

export interface RaceResult extends ConformResult {
  /** Runs until one matched. */
  readonly attempts: number;
}

/** Searches for a run that does what the recording shows. */
export function conformRace(recording: Recording): RaceResult {
  const { file, kernel, script } = recording;
  const plans = script.phases.map(() => new Map<string, EarlySteps>());
  const frames: Frame[] = [];
  const done = { file, kernel, phases: script.phases.length };
  let furthest: { readonly progress: number; readonly mismatch: Mismatch } | null = null;
  for (let attempts = 1; attempts <= ATTEMPTS_MAX; attempts++) {
    const outcome = attempt(recording, plans);
    if (outcome.kind === 'end') return { ...done, mismatch: outcome.mismatch, attempts };
    const { phase, divergence } = outcome;
    const progress = phase * 2 ** 32 + Math.min(divergence.progress, 2 ** 32 - 1);
    if (furthest === null || progress > furthest.progress) {
      furthest = { progress, mismatch: mismatchOf(recording, phase, divergence) };
    }
    if (isNews(frames, progress, divergence)) frames.push(frameFor(phase, progress, divergence));
    if (!tryNext(frames, plans)) return { ...done, mismatch: furthest.mismatch, attempts };
  }
  return { ...done, mismatch: furthest?.mismatch ?? null, attempts: ATTEMPTS_MAX };
}

const troubleOf = (gap: string, got: string): string => `${gap} ${got}`;

/** Whether the run got further than any before, or as far, but stumbled over another gap. */
function isNews(frames: readonly Frame[], progress: number, { own, got }: Divergence): boolean {
  const top = frames.at(-1);
  if (top === undefined || progress > top.progress) return true;
  return (
    progress === top.progress && !frames.some((frame) => frame.progress === progress && frame.trouble === troubleOf(own.key, got))
  );
}

/** Takes the next candidate of the last divergence, or goes back to the one before it. Returns false at the end of all. */
function tryNext(frames: Frame[], plans: readonly Map<string, EarlySteps>[]): boolean {
  for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
    const plan = plans[frame.phase];
    if (frame.undo?.early !== undefined) plan.set(frame.undo.key, frame.undo.early);
    else if (frame.undo !== null) plan.delete(frame.undo.key);
    const candidate = frame.candidates.shift();
    if (candidate !== undefined) {
      frame.undo = { key: candidate.key, early: plan.get(candidate.key) };
      plan.set(candidate.key, candidate.early);
      return true;
    }
    frames.pop();
  }
  return false;
}

/**
 * What may help: that the thread does its part before an entry that it is about changed; that it takes more or fewer steps
 * early in its own gap; that the others do, from a while ago on.
 */
function frameFor(phase: number, progress: number, { own, earlier, others, recent, clues, dueAccess, got }: Divergence): Frame {
  const candidates: Candidate[] = [];
  for (const clue of clues) {
    for (const back of CLUE_DISTANCES) {
      const early = { steps: Number.POSITIVE_INFINITY, from: Math.max(clue - back, 0) };
      candidates.push({ key: own.key, early: dueAccess === undefined ? early : { ...early, accesses: dueAccess } });
    }
  }
  if (dueAccess !== undefined) {
    // Its guest may have come that far before it was stopped for another reason.
    const early = { steps: Number.POSITIVE_INFINITY, from: 0, accesses: dueAccess };
    for (const key of [own.key, ...earlier]) candidates.push({ key, early });
  }
  candidates.push({ key: own.key, early: { steps: Number.POSITIVE_INFINITY, from: 0 } });
  for (const steps of shares(own.steps)) candidates.push({ key: own.key, early: { steps, from: 0 } });
  for (const from of recent) {
    for (const { key, steps } of others) {
      // Last, to its end: where somebody must be kicked, that is the last step.
      for (const some of [...shares(steps), steps]) candidates.push({ key, early: { steps: some, from } });
    }
  }
  return { phase, progress, trouble: troubleOf(own.key, got), candidates, undo: null };
}

/** Numbers of early steps to try in a gap of `steps`: nearly all of them first. */
function shares(steps: number): readonly number[] {
  const some = [steps - 1, steps - 2, Math.floor(steps / 2), 0];
  return [...new Set(some.filter((n) => n >= 0))];
}

type Outcome =
  | { readonly kind: 'end'; readonly mismatch: Mismatch | null }
  | { readonly kind: 'diverged'; readonly phase: number; readonly divergence: Divergence };

function attempt(recording: Recording, plans: readonly ReplayPlan[]): Outcome {
  const { script } = recording;
  let replay: PhaseReplay | null = null;
  const runner: ScriptRunner = new ScriptRunner(script, {
    ...RUN_DEFAULTS,
    kernel: recording.generation,
    flushOnEntry: true,
    needbreak: false,
    onEvent: (event) => replay?.onEvent(event),
    onThreadEnd: (thread) => replay?.onThreadEnd(thread),
    needResched: (thread) => replay?.needResched(thread) ?? false,
    scheduleFor: (step) => {
      const names = step.threads.map(({ name }) => name);
      return replay!.schedule(names, asksOf(runner.machine, step));
    },
  });
  const comparer = new PhaseComparer(runner, script);
  for (const [n, phase] of script.phases.entries()) {
    const expected = recording.phases[n];
    if (!isConcurrent(phase)) {
      const mismatch = comparer.compare(phase, expected, runner.runPhase(phase, n));
      if (mismatch !== null) return { kind: 'end', mismatch };
      continue;
    }
    replay = new PhaseReplay(expected.events, comparer.comparison, plans[n]);
    const mismatch = replayPhase(runner, comparer, replay, phase, expected, n);
    replay = null;
    if (mismatch !== null) return mismatch;
  }
  return { kind: 'end', mismatch: null };
}

function asksOf(machine: ScriptMachine, step: ScriptStep): ReplayThreads {
  const vcpuOfThread = (name: string) => machine.vcpus.find(({ thread }) => thread === machine.thread(name).vm.thread);
  return {
    holding: (name) => holdingOf(machine, name),
    accesses: (name) => vcpuOfThread(name)?.counters[VcpuCounter.guest_accesses] ?? 0,
    stride: (name) => {
      const operations = step.threads.find((thread) => thread.name === name)?.operations ?? [];
      const touch = operations.find((operation) => operation.op === 'atouch' || operation.op === 'touch');
      return touch?.op === 'atouch' || touch?.op === 'touch' ? touch.values.stride : 1;
    },
  };
}

/** What the thread stands in: a lock, a read-side section, the guest. */
function holdingOf(machine: ScriptMachine, name: string): Holding {
  const { thread } = machine.thread(name).vm;
  const [one, two] = thread.srcuSections;
  if (!thread.holdsNothing() || one + two > 0) return Holding.lock;
  const inGuest = machine.vcpus.some((vcpu) => vcpu.inGuest && vcpu.thread === thread);
  return inGuest ? Holding.guest : Holding.nothing;
}

function replayPhase(
  runner: ScriptRunner,
  comparer: PhaseComparer,
  replay: PhaseReplay,
  phase: ScriptPhase,
  expected: RecordedPhase,
  n: number,
): Outcome | null {
  try {
    const got = runner.runPhase(phase, n);
    replay.finish();
    const mismatch = comparer.compareOutcome(phase, expected, got);
    return mismatch === null ? null : { kind: 'end', mismatch };
  } catch (error) {
    if (error instanceof ReplayDiverged) return { kind: 'diverged', phase: n, divergence: error.divergence };
    if (!(error instanceof InvariantError)) throw error;
    const broken = {
      phase: n,
      words: phase.words,
      what: `invariant '${error.rule}'`,
      expected: 'none broken',
      got: error.message,
      before: [],
    };
    return { kind: 'end', mismatch: broken };
  }
}

function mismatchOf(recording: Recording, phase: number, { thread, index, expected, got }: Divergence): Mismatch {
  const { words } = recording.script.phases[phase];
  return { phase, words, what: `event ${index} of ${thread}`, expected, got, before: [] };
}
