/**
 * What the explorer runs: a few coroutines over a shared arena, and what must hold of them.
 *
 * A program is set up once. Its arena is then restored before every execution, so whatever the coroutines keep outside the
 * arena must be created in `run`, or put back by `reset`.
 */
import type { Memory } from '../../machine/memory.ts';
import type { Task } from '../../machine/point.ts';

/** What a thread may ask of the explorer besides its steps. */
export interface ProgramContext {
  /** A 32-bit unsigned number that the scheduler draws: repeatable, and part of a replay token once used. */
  random(): number;
  /** Notes that the execution came by the spot `name`: see the coverage wrapper. */
  mark(name: string): void;
}

export interface ProgramThread {
  readonly name: string;
  /** Serves the others for as long as they run: at the end of an execution it may be waiting for more to do. */
  readonly daemon?: boolean;
  /** Creates the thread's coroutine. Called at the start of every execution. */
  run(memory: Memory, context: ProgramContext): Task<unknown>;
}

/** A broken rule, as data: a worker pool drops the class of an error. */
export interface Finding {
  /** The rule that was broken, in kebab case. */
  readonly rule: string;
  readonly message: string;
}

/** One step that was taken, as an observer sees it. The object is reused: copy what is to be kept. */
export interface StepEvent {
  /** How many steps came before. */
  index: number;
  /** The thread, or under TSO `threads.length + thread` for a drain of its store buffer. */
  task: number;
  /** The announced step (`address * 16 + kind`). */
  step: number;
}

export interface Program {
  /** Shown in reports, and part of the hash that binds replay tokens to programs. */
  readonly name: string;
  /** Size of the arena in 32-bit words. */
  readonly words: number;
  readonly threads: readonly ProgramThread[];
  /** Distinguishes versions and parameters of one name in replay tokens. */
  readonly fingerprint?: string;
  /** Whether live threads that all wait are an acceptable end. */
  readonly mayDeadlock?: boolean;
  /** Names of spots that a search should come by: see {@link ProgramContext.mark}. */
  readonly marks?: readonly string[];
  /** Fills the arena. Called once; what it leaves is the initial state of every execution. */
  setup?(memory: Memory): void;
  /** Puts back state outside the arena (ghost state of oracles). Called at the start of every execution. */
  reset?(): void;
  /** Called after every step. Reports a broken rule by throwing an `InvariantError`. */
  observe?(event: StepEvent, words: Int32Array): void;
  /** Judges a complete execution by its final memory: a message or a finding where a rule is broken. */
  check?(words: Int32Array): Finding | string | null | undefined;
  /** What tells final states apart, where it is not the contents of all words. */
  state?(words: Int32Array): string;
  /** A name for the word at `address` in messages. */
  label?(address: number): string | undefined;
}

/** Which memory the threads see: sequentially consistent, or x86's store buffers. */
export type MemoryModel = 'sc' | 'tso';

/** 32-bit hash (FNV-1a) of a string. */
export function hashText(text: string, seed = 0x811c9dc5): number {
  let h = seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** The hash that a replay token carries: the program's name, shape, version and initial arena, and the memory model. */
export function programHash(program: Program, initial: Int32Array, model: MemoryModel): number {
  const threads = program.threads.map((t) => t.name).join(',');
  let h = hashText(`${program.name}|${program.words}|${threads}|${program.fingerprint ?? ''}|${model}`);
  for (let i = 0; i < initial.length; i++) {
    if (initial[i] !== 0) h = Math.imul(h ^ initial[i] ^ Math.imul(i, 0x9e3779b1), 0x01000193) >>> 0;
  }
  return h >>> 0;
}
