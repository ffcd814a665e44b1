/** Compares page-table dumps and statistics at the end of a phase. */
import { hex, type PhaseCounters, type StateRow } from '../script/record/event.ts';

export interface Difference {
  readonly what: string;
  readonly expected: string;
  readonly got: string;
}

/** Statistics that interrupts of the host add to: a recording may have more. */
const AT_LEAST = new Set(['exits']);

/** Rows with neighbours of equal bits folded, whatever way they were folded before. */
function refold(rows: readonly StateRow[], span: (level: number) => number): StateRow[] {
  const folded: StateRow[] = [];
  for (const row of rows) {
    const last = folded.at(-1);
    const continues =
      last !== undefined &&
      !row.table &&
      !last.table &&
      last.level === row.level &&
      last.bits === row.bits &&
      last.gfn + last.n * span(last.level) === row.gfn;
    if (continues) folded[folded.length - 1] = { ...last, n: last.n + row.n };
    else folded.push(row);
  }
  return folded;
}

function rowText(row: StateRow | undefined): string {
  if (row === undefined) return '(nothing more)';
  const what = row.table ? 'table' : `${row.n} ${row.n === 1 ? 'leaf' : 'leaves'}`;
  return `gfn ${hex(row.gfn)} level ${row.level}: ${what} ${row.bits}`;
}

/** Compares two dumps. `expected` undefined: the recording has none. */
export function compareState(
  expected: readonly StateRow[] | null | undefined,
  got: readonly StateRow[] | null,
  span: (level: number) => number,
): Difference | null {
  if (expected === undefined) return null;
  if (expected === null || got === null) {
    if (expected === got) return null;
    const text = (rows: readonly StateRow[] | null): string => (rows === null ? 'no valid root' : `${rows.length} rows`);
    return { what: 'page table at the end', expected: text(expected), got: text(got) };
  }
  const left = refold(expected, span);
  const right = refold(got, span);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    if (rowText(left[i]) === rowText(right[i])) continue;
    return { what: `page table at the end, row ${i}`, expected: rowText(left[i]), got: rowText(right[i]) };
  }
  return null;
}

/**
 * Compares what the statistics changed by.
 *
 * @param extraFlushes flushes in the recording that yields caused
 */
export function compareCounters(expected: PhaseCounters, got: PhaseCounters, extraFlushes: number): Difference | null {
  for (const [object, values] of Object.entries(expected)) {
    for (const [name, { delta }] of Object.entries(values)) {
      const ours = got[object]?.[name]?.delta ?? 0;
      const wanted = name === 'remote_tlb_flush_requests' ? delta - extraFlushes : delta;
      if (AT_LEAST.has(name) ? wanted >= ours : wanted === ours) continue;
      return { what: `${object} ${name}`, expected: `${wanted}`, got: `${ours}` };
    }
  }
  return null;
}

/** Statistics that depend on who was in the guest when: kicks, exits because of them, and flushes that fell together. */
const TIMING: readonly string[] = ['remote_tlb_flush', 'exits', 'tlb_flush'];

/** As {@link compareCounters}, for threads that ran side by side. */
export function compareRaceCounters(expected: PhaseCounters, got: PhaseCounters): Difference | null {
  const timeless = Object.entries(expected).map(([object, values]) => {
    return [object, Object.fromEntries(Object.entries(values).filter(([name]) => !TIMING.includes(name)))] as const;
  });
  return compareCounters(Object.fromEntries(timeless), got, 0);
}
