/**
 * The main thread's side of rounds: lets all vCPUs do their part, waits until they have, and times what happens between.
 */
import type { Task } from '../../machine/point.ts';
import type { ProgramContext } from '../workload.ts';

export class Rounds {
  readonly #context: ProgramContext;
  readonly #vcpus: number;
  /** Parts of rounds that are over when all rounds begun are. */
  #parts = 0;
  #beganNs: number;

  constructor(context: ProgramContext) {
    this.#context = context;
    this.#vcpus = context.options.vcpus as number;
    this.#beganNs = context.vm.thread.now();
  }

  /** Lets all vCPUs begin the next round. */
  *begin(): Task<void> {
    this.#parts += this.#vcpus;
    yield* this.#context.control.beginRound();
  }

  /** Waits until all vCPUs have ended the round. False where the run is stopped. */
  *await(): Task<boolean> {
    return yield* this.#context.control.awaitRounds(this.#parts);
  }

  /** As {@link await}, for `others` threads that have a part in the round which ends before those of the vCPUs. */
  *awaitOthers(others: number): Task<boolean> {
    this.#parts += others;
    return yield* this.#context.control.awaitRounds(this.#parts - this.#vcpus);
  }

  /** A round from its beginning to its end. False where the run is stopped. */
  *run(): Task<boolean> {
    yield* this.begin();
    return yield* this.await();
  }

  /** What {@link ended} tells begins now. */
  restartClock(): void {
    this.#beganNs = this.#context.vm.thread.now();
  }

  /** Phase `name` ends now, and the next begins. */
  ended(name: string): void {
    const now = this.#context.vm.thread.now();
    this.#context.phase(name, now - this.#beganNs);
    this.#beganNs = now;
  }
}
