/**
 * The catalogue of historical bugs: each a switch in the code that it was a fault of. See `catalogue.json`, which was compiled
 * from commit messages, mailing lists and the kernel's documentation; interleavings and switches are reconstructions.
 */
import type { BugSwitches } from '../mmu/bug-switches.ts';
import catalogue from './catalogue.json' with { type: 'json' };

/** What kind of harm a bug did. */
export type BugKind = 'bug' | 'perf' | 'rule';

export interface Bug {
  /** In kebab case: also the name of its switch. */
  readonly id: string;
  /** Subject of the commit, or what the rule says. */
  readonly subject: string;
  /** Upstream commit of the fix; null where none was verified. */
  readonly commit: string | null;
  readonly introduced: string;
  readonly fixed: string;
  readonly kind: BugKind;
  readonly category: string;
  readonly tier: 'core' | 'extended';
  /**
   * Patch series that it belongs to or interacts with: S1 eager page splitting, S2 fast-forwarding the iterator, S3 the overhaul
   * of zapping and flushing, S4 the direct MMU's RFC, S5 lazy collapse.
   */
  readonly series: readonly string[];
  readonly actors: readonly string[];
  readonly faultyRule: string;
  readonly correctRule: string;
  /** Who did what, in order. */
  readonly interleaving: readonly string[];
  readonly invariant: string;
  readonly reintroduce: string;
  readonly relatedCommits: readonly string[];
  readonly confidence: string;
  /** Why the model cannot have it; absent where it can. */
  readonly notExpressible?: string;
}

export const BUGS: readonly Bug[] = catalogue.entries as readonly Bug[];

/** The bugs that the model can have. */
export const EXPRESSIBLE: readonly Bug[] = BUGS.filter((bug) => bug.notExpressible === undefined);

/** The switches that bring a bug back. */
export const switchesOf = (bug: Bug): BugSwitches => ({ [bug.id]: true });

export function findBug(id: string): Bug | undefined {
  return BUGS.find((bug) => bug.id === id);
}
