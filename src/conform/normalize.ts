/**
 * Takes out of a phase's events what depends on where a thread was preempted, and what is no business of the MMU.
 *
 * A yield drops mmu_lock, takes it again and restarts the walk; a walk that owed a flush pays it first. Without the yield
 * none of that is there, and the flush comes before the lock is dropped for good.
 */
import type { PhaseEvent, PlainEvent } from '../script/record/event.ts';

/** Events of the recorder's own surroundings: creation, and notifications by addresses of the host process. */
export const NOISE: ReadonlySet<string> = new Set([
  'vcpu_create',
  'kvm_unmap_hva_range',
  'kvm_age_hva',
  'kvm_test_age_hva',
  'kvm_set_spte_hva',
  'rcu_free_table',
  'kvmptr',
]);
const YIELDS = new Set(['yield_read', 'yield_write']);

export interface Normalized {
  readonly events: readonly PhaseEvent[];
  /** Flushes that came earlier because of a yield: had there been none, this many would have been saved. */
  readonly extraFlushes: number;
}

/** What a thread that yielded does next, in order: none of it would be there without the yield. */
type Expected = 'unlock' | 'lock' | 'restart';

interface ThreadState {
  pending: Expected[];
  /** A flush that a yield brought forward is owed before the lock is dropped. */
  owesFlush: boolean;
}

/** Normalises the events of one phase. */
export function normalizeEvents(events: readonly PhaseEvent[]): Normalized {
  const kept: PhaseEvent[] = [];
  const threads = new Map<string, ThreadState>();
  let extraFlushes = 0;
  for (const event of events) {
    if (NOISE.has(event.e)) continue;
    let state = threads.get(event.by);
    if (state === undefined) threads.set(event.by, (state = { pending: [], owesFlush: false }));
    if (YIELDS.has(event.e)) {
      state.pending = ['unlock', 'lock', 'restart'];
      if (takeLastFlush(kept, event.by)) {
        extraFlushes++;
        state.owesFlush = true;
      }
      continue;
    }
    if (belongsToYield(state, event)) continue;
    if (state.owesFlush && event.e === 'flush_all') state.owesFlush = false;
    else if (state.owesFlush && event.e.endsWith('_unlock')) {
      kept.push({ e: 'flush_all', by: event.by, fields: {} } satisfies PlainEvent);
      state.owesFlush = false;
      extraFlushes--;
    }
    kept.push(event);
  }
  return { events: kept, extraFlushes };
}

/** Whether the last event that was kept is a flush of the thread: if so it is taken away again. */
function takeLastFlush(kept: PhaseEvent[], by: string): boolean {
  const last = kept.findLastIndex((event) => event.by === by);
  if (last < 0 || kept[last].e !== 'flush_all') return false;
  kept.splice(last, 1);
  return true;
}

function belongsToYield(state: ThreadState, event: PhaseEvent): boolean {
  const [next] = state.pending;
  if (next === undefined) return false;
  const matches =
    (next === 'unlock' && event.e.endsWith('_unlock')) ||
    (next === 'lock' && /_lock$/.test(event.e)) ||
    (next === 'restart' && event.e === 'iter_restart');
  if (matches) {
    state.pending.shift();
    return true;
  }
  // Not every loop that yields walks: NX recovery goes on with its list.
  if (next === 'restart') state.pending = [];
  return false;
}
