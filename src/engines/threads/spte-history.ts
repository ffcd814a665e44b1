/**
 * What all threads remember of an SPTE, put together: the history that a violation of an oracle shows.
 *
 * Within a thread the order is exact; between threads it is that of their last looks at the clock.
 */
import type { Geometry } from '../../mmu/level.ts';
import { readSpteChanges, type SpteChange } from '../measure/spte-changes.ts';
import type { StatRegion } from '../measure/stat-region.ts';
import { changeText } from './failure.ts';

/** Changes that are shown of an SPTE. */
const SHOWN = 16;

/** Which SPTE; without a level: those of all levels that map the gfn. */
export interface SptePlace {
  readonly asId?: number;
  readonly gfn?: number;
  readonly level?: number;
}

/** The last changes of an SPTE, oldest first: `vcpu 3: gfn 0x200 level 1: 0x0 -> 0x4000807`. */
export type SpteHistory = (place: SptePlace) => readonly string[];

export interface SpteHistoryOptions {
  readonly region: StatRegion;
  /** Names of the threads by number. */
  readonly threads: readonly string[];
  readonly geometry: Geometry;
  /** The time, in nanoseconds of the threads' clock. */
  readonly now: number;
}

/** The history as of its first use: nobody may change SPTEs from then on. */
export function spteHistory(options: SpteHistoryOptions): SpteHistory {
  const { threads, geometry } = options;
  let changes: readonly SpteChange[] | null = null;
  return ({ asId, gfn, level }) => {
    if (gfn === undefined) return [];
    changes ??= mergedChanges(options);
    const about = (change: SpteChange): boolean =>
      (level === undefined || change.level === level) &&
      (asId === undefined || change.asId === asId || !namesAddressSpace(change)) &&
      geometry.round(gfn as never, change.level) === geometry.round(change.gfn as never, change.level);
    return changes
      .filter(about)
      .slice(-SHOWN)
      .map((change) => `${threads[change.thread]}: ${changeText(change)}`);
  };
}

/** Only changes under mmu_lock are recorded with their address space. */
const namesAddressSpace = ({ kind }: SpteChange): boolean => kind === 'changed';

/** The changes that all threads remember, oldest first. Clocks are 32 bits of microseconds, so ages are what compares. */
function mergedChanges({ region, threads, now }: SpteHistoryOptions): SpteChange[] {
  const nowUs = Math.floor(now / 1000);
  const age = ({ clockUs }: SpteChange): number => (nowUs - clockUs) >>> 0;
  return threads.flatMap((_, thread) => readSpteChanges(region, thread)).toSorted((a, b) => age(b) - age(a));
}
