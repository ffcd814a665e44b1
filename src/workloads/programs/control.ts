/**
 * The control block: how the threads of a workload wait for each other (kernel: the globals of
 * tools/testing/selftests/kvm/dirty_log_perf_test.c and lib/memstress.c).
 *
 * It is a stretch of the arena, and its waits are steps like any other, so that a workload runs on every engine. A run that is
 * stopped (its time is over, or somebody interrupted it) lets every waiter go on: each wait says whether to.
 */
import { CONTROL_HEAD_WORDS, ControlWord } from '../../engines/plan.ts';
import type { Memory } from '../../machine/memory.ts';
import { type Address, fixed, own, read, rmw, type Task, wait, wake, write } from '../../machine/point.ts';

/** A cache line, in words: words that different threads write lie that far apart. */
const LINE = 16;

/** Words of the block, after those of the engine. */
const Word = {
  /** The round that vCPUs work on: 0 before the first. */
  round: CONTROL_HEAD_WORDS,
  /** Parts of rounds that vCPUs have ended, counted over all rounds. */
  finished: CONTROL_HEAD_WORDS + LINE,
  /** Whose turn it is, where turns are taken in order. */
  turn: CONTROL_HEAD_WORDS + 2 * LINE,
  /** The last checkpoint that the workload has reached. */
  checkpoint: CONTROL_HEAD_WORDS + 3 * LINE,
  /** The last checkpoint that was examined. */
  examined: CONTROL_HEAD_WORDS + 4 * LINE,
  /** Not 0: somebody examines checkpoints; else the workload does not wait. */
  examiner: CONTROL_HEAD_WORDS + 4 * LINE + 1,
  /** A word that nobody waits on but whoever pauses. */
  flag: CONTROL_HEAD_WORDS + 5 * LINE,
} as const;

/** Words of the block that every workload uses; what a workload stores for itself follows. */
export const CONTROL_WORDS = 6 * LINE;

/** What the round is when there is none to come. */
const NO_ROUND = -1;

/** Wakes everybody. */
const ALL = 0x7fff_ffff;

export class Control {
  readonly memory: Memory;
  readonly base: Address;

  /** `base`: the control block of the plan's layout. */
  constructor(memory: Memory, base: Address) {
    this.memory = memory;
    this.base = base;
  }

  word(index: number): Address {
    return (this.base + index) as Address;
  }

  /** Address of word `index` of the workload's own data. */
  data(index: number): Address {
    return (this.base + CONTROL_HEAD_WORDS + CONTROL_WORDS + index) as Address;
  }

  /** A word of the workload's own data that was written before the threads began, and does not change. */
  constant(index: number): number {
    return this.memory.load32(fixed(this.data(index)));
  }

  *stopped(): Task<boolean> {
    return this.memory.load32(yield read(this.word(ControlWord.stop))) !== 0;
  }

  /**
   * Tells everybody to come to an end. The round changes with it: who was about to sleep until the next one looks again. (An
   * engine that ends a run sets the word alone, and relies on sleepers that look again now and then.)
   */
  *stop(): Task<void> {
    const { memory } = this;
    memory.store32(yield write(this.word(ControlWord.stop)), 1);
    memory.store32(yield write(this.word(Word.round)), NO_ROUND);
    for (const index of [Word.round, Word.finished, Word.turn, Word.examined]) yield wake(this.word(index), ALL);
  }

  /** Begins the next round and returns its number, from 1 on. One thread does this. */
  *beginRound(): Task<number> {
    const { memory } = this;
    const word = this.word(Word.round);
    const round = memory.load32(own(word)) + 1;
    memory.store32(yield write(word), round);
    yield wake(word, ALL);
    return round;
  }

  /** Waits for a round after `last`. Returns its number, or 0 where the run is stopped. */
  *nextRound(last: number): Task<number> {
    const { memory } = this;
    const word = this.word(Word.round);
    for (;;) {
      if (yield* this.stopped()) return 0;
      const round = memory.load32(yield read(word));
      if (round === NO_ROUND) return 0;
      if (round !== last) return round;
      yield wait(word, last);
    }
  }

  /** A vCPU has ended `parts` parts of a round. */
  *endRound(parts = 1): Task<void> {
    const word = this.word(Word.finished);
    this.memory.add32(yield rmw(word), parts);
    yield wake(word, ALL);
  }

  /** Waits until `parts` parts of rounds are over, counted from the start. False where the run is stopped. */
  *awaitRounds(parts: number): Task<boolean> {
    const { memory } = this;
    const word = this.word(Word.finished);
    for (;;) {
      const finished = memory.load32(yield read(word));
      if (finished >= parts) return true;
      if (yield* this.stopped()) return false;
      yield wait(word, finished);
    }
  }

  /** Waits until turn `turn` has come, or a later one. False where the run is stopped. */
  *awaitTurn(turn: number): Task<boolean> {
    const { memory } = this;
    const word = this.word(Word.turn);
    for (;;) {
      const now = memory.load32(yield read(word));
      if (now >= turn) return true;
      if (yield* this.stopped()) return false;
      yield wait(word, now);
    }
  }

  /** Gives turn `turn` to whoever waits for it. */
  *passTurn(turn: number): Task<void> {
    const word = this.word(Word.turn);
    this.memory.store32(yield write(word), turn);
    yield wake(word, ALL);
  }

  /** Sets or clears the flag that programs agree on. */
  *setFlag(on: boolean): Task<void> {
    this.memory.store32(yield write(this.word(Word.flag)), on ? 1 : 0);
  }

  *flag(): Task<boolean> {
    return this.memory.load32(yield read(this.word(Word.flag))) !== 0;
  }

  /** Everybody is at rest: lets an examiner look at the whole state, if there is one, and waits for it. */
  *checkpoint(): Task<void> {
    const { memory } = this;
    if (memory.load32(own(this.word(Word.examiner))) === 0) return;
    const word = this.word(Word.checkpoint);
    const number = memory.load32(own(word)) + 1;
    memory.store32(yield write(word), number);
    yield wake(word, ALL);
    const examined = this.word(Word.examined);
    for (;;) {
      const seen = memory.load32(yield read(examined));
      if (seen >= number || (yield* this.stopped())) return;
      yield wait(examined, seen);
    }
  }

  /** There is somebody who examines checkpoints. Said before any program runs. */
  *expectExaminer(): Task<void> {
    this.memory.store32(yield write(this.word(Word.examiner)), 1);
  }

  /** For the examiner: the checkpoint at which the workload waits, or 0. */
  *checkpointWaiting(): Task<number> {
    const reached = this.memory.load32(yield read(this.word(Word.checkpoint)));
    return reached > this.memory.load32(own(this.word(Word.examined))) ? reached : 0;
  }

  /** For the examiner: lets the workload go on. */
  *examined(checkpoint: number): Task<void> {
    const word = this.word(Word.examined);
    this.memory.store32(yield write(word), checkpoint);
    yield wake(word, ALL);
  }
}
