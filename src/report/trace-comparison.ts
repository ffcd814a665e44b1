/**
 * What a recorded run did beside what its replay did: every count that the recording has, by the kernel's tracepoints.
 *
 * What a recording does not say is told apart from what did not happen: a tracepoint that was off, or a filter that hid the freezing of
 * empty entries, which is most of the volume of a recording.
 */
import { MMU_EVENTS, type MmuEventGroup, type MmuEventTable } from '../engines/measure/mmu-events.ts';
import { count } from './quantity.ts';
import { table } from './table.ts';

export interface ComparisonRow {
  readonly group: MmuEventGroup;
  readonly name: string;
  /** Null where the recording does not say. */
  readonly recorded: number | null;
  readonly replayed: number;
  /** Replayed less recorded; null where there is nothing to compare. */
  readonly difference: number | null;
}

/** Entries of a table: as many freezes as its removal under the read lock takes. */
const ENTRIES = 512;
const SET_BY_FAULTS = 'set by faults (kvm_mmu_set_spte)';
const isEmptyFrozen = (name: string): boolean => name.endsWith('empty entry frozen');

/** The rows in which either side has something, in the order of the events' table. */
export function compareEvents(recorded: MmuEventTable, replayed: MmuEventTable): ComparisonRow[] {
  const told = new Told(recorded);
  return MMU_EVENTS.flatMap(({ group, name }) => {
    const then = recorded[group]?.[name] ?? 0;
    const now = replayed[group]?.[name] ?? 0;
    if (then === 0 && now === 0) return [];
    const known = told.tells(group, name);
    return [{ group, name, recorded: known ? then : null, replayed: now, difference: known ? now - then : null }];
  });
}

/** What a recording tells at all. */
class Told {
  readonly #recorded: MmuEventTable;

  constructor(recorded: MmuEventTable) {
    this.#recorded = recorded;
  }

  tells(group: MmuEventGroup, name: string): boolean {
    if (isEmptyFrozen(name)) return !this.#hidesEmptyEntries();
    if (name === SET_BY_FAULTS) return this.#of('SPTE changes', name) > 0 || this.#sum('SPTE changes', /leaf mapped$/) === 0;
    // Tracepoints that always have something to say where they are on.
    if (group === 'page fault results' || group === 'SPTE changes' || group === 'operations')
      return this.#recorded[group] !== undefined;
    return group !== 'flushes' || this.#recorded.operations !== undefined;
  }

  /** Whether a filter kept out what is there a thousand times over whenever a root is zapped. */
  #hidesEmptyEntries(): boolean {
    if (this.#of('operations', 'zap_invalidated_roots') === 0) return false;
    const removed = this.#sum('page tables', /removed$/);
    return removed > 0 && this.#sum('SPTE changes', /empty entry frozen$/) < ENTRIES;
  }

  #of(group: MmuEventGroup, name: string): number {
    return this.#recorded[group]?.[name] ?? 0;
  }

  #sum(group: MmuEventGroup, names: RegExp): number {
    return Object.entries(this.#recorded[group] ?? {}).reduce((sum, [name, n]) => (names.test(name) ? sum + n : sum), 0);
  }
}

/** The rows as a table, and what the differences come to. */
export function comparisonLines(rows: readonly ComparisonRow[]): string[] {
  const cells = rows.map(({ group, name, recorded, replayed, difference }, i) => [
    rows[i - 1]?.group === group ? '' : `  ${group}`,
    name,
    recorded === null ? '-' : count(recorded),
    count(replayed),
    difference === null || difference === 0 ? '' : `${difference > 0 ? '+' : ''}${count(difference)}`,
  ]);
  const different = rows.filter(({ difference }) => difference !== null && difference !== 0).length;
  const silent = rows.filter(({ recorded }) => recorded === null).length;
  const equal = rows.length - different - silent;
  return [
    ...table(
      [
        { title: '', align: 'left' },
        { title: '', align: 'left' },
        { title: 'recorded' },
        { title: 'replayed' },
        { title: 'difference' },
      ],
      cells,
    ),
    `  ${equal} counts agree, ${different} differ${silent > 0 ? `; -: the recording does not tell (${silent})` : ''}`,
  ];
}
