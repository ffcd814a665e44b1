/** Telling a `StepWorld` of the steps that an engine takes. */
import type { Finding, Program, StepEvent } from '../engines/explore/program.ts';
import { type Address, addressOfStep, kindOfStep, StepKind } from '../machine/point.ts';
import type { StepWorld } from './step-world.ts';

/** For `runTogether`, which announces each step before it is granted. */
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

/**
 * The hooks of a program of the explorer. `reset` comes after the program's own has put the VM's handles back; `check` is to be
 * called before the program looks at the final state.
 *
 * @param world made by the program's `setup`, so asked for when it is needed
 */
export function programHooks(world: () => StepWorld): Required<Pick<Program, 'reset' | 'observe' | 'check'>> {
  return {
    reset: () => world().start(),
    observe: ({ task, step }: StepEvent) => {
      const { threads } = world();
      // Beyond the threads are their store buffers, which write in their stead.
      world().step(task % threads.length, kindOfStep(step), addressOfStep(step));
    },
    check: (): Finding | null => {
      world().end();
      return null;
    },
  };
}
