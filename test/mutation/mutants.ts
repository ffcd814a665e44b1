/**
 * Faults put into the single source, one at a time, to see whether the oracles and scenarios notice: each breaks one rule of the
 * protocol. They are none of the historical bugs, and no oracle was written with one of them in mind.
 *
 * A mutant is a place and what stands there instead. The place must occur once in its file: a test sees to that, so that the list
 * does not rot.
 */
import mutants from './mutants.json' with { type: 'json' };

export interface Mutant {
  /** In kebab case. */
  readonly id: string;
  /** Below `src`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** Why nobody can tell the mutant from the original by what it does, where that is so. */
  readonly equivalent?: string;
}

export const MUTANTS: readonly Mutant[] = mutants;
