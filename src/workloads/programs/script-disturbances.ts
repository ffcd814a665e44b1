/** What `resched` and `allocfail` of a script ask of the thread that runs them. */
import type { ThreadEnvironment } from '../../machine/thread.ts';

/** Says yes at every n-th question. */
export class Every {
  /** 0: never. */
  n = 0;
  #asked = 0;

  due(): boolean {
    return this.n > 0 && ++this.#asked % this.n === 0;
  }
}

export type DisturbanceName = 'resched' | 'allocfail';

export class Disturbances {
  readonly resched = new Every();
  readonly allocfail = new Every();

  set(name: DisturbanceName, every: number): void {
    this[name].n = every;
  }

  /** What `environment` answers, or what is asked for here. */
  over(environment: ThreadEnvironment): Pick<ThreadEnvironment, 'needResched' | 'failAllocation'> {
    return {
      needResched: () => this.resched.due() || environment.needResched(),
      failAllocation: () => this.allocfail.due() || environment.failAllocation?.() === true,
    };
  }
}
