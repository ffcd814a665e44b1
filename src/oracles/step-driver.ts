/** Telling a `StepWorld` of the steps of `runTogether`, which announces each step before it is granted. */
import { type Address, StepKind } from '../machine/point.ts';
import type { StepWorld } from './step-world.ts';

export class StepDriver {
  readonly world: StepWorld;
  /** The thread that runs each task. */
  readonly threads: readonly number[];
  #thread = -1;
  #kind: StepKind = StepKind.Spend;
  #address = 0 as Address;

  constructor(world: StepWorld, threads: readonly number[]) {
    this.world = world;
    this.threads = threads;
  }

  /** For `TogetherOptions.onStep`: the step before has been taken. */
  readonly onStep = (task: number, kind: StepKind, a: Address): void => {
    this.#deliver();
    this.#thread = this.threads[task];
    this.#kind = kind;
    this.#address = a;
  };

  /** All tasks have ended. */
  finish(): void {
    this.#deliver();
    this.world.end();
  }

  #deliver(): void {
    if (this.#thread >= 0) this.world.step(this.#thread, this.#kind, this.#address);
    this.#thread = -1;
  }
}
