/** A phase for people: what was asked, what changed in the page table, under which locks, at what cost. */

import { hex, isSpteEvent, type PhaseEvent, type PhaseRecord, type StateRow } from '../record/event.ts';
import type { ChangeKinds, SpteRun } from '../record/spte-run.ts';
import type { Operation } from '../vocabulary.ts';
import { operationText } from './operation-text.ts';

export interface PhaseTextOptions {
  readonly kinds: ChangeKinds;
  /** Names of the bits of an SPTE. */
  readonly describe: (spte: SpteRun['old']) => string;
  /** How headings look. */
  readonly heading: (text: string) => string;
}

const LEVEL_NAMES: Readonly<Record<number, string>> = { 1: '4K', 2: '2M', 3: '1G', 4: '512G', 5: '256T' };

/** The lines of one phase. */
export function phaseText(phase: PhaseRecord, operations: readonly Operation[], options: PhaseTextOptions): readonly string[] {
  const lines = [options.heading(`phase ${phase.n}: ${phase.words}`)];
  for (const [i, operation] of operations.entries()) {
    const result = phase.results[i];
    lines.push(`  ${operationText(operation)}${result === '' ? '' : `  => ${result}`}`);
  }
  const changes = phase.events.flatMap((event) => (isSpteEvent(event) ? [event.run] : []));
  if (changes.length > 0) lines.push('  SPTE changes', ...changeLines(changes, options));
  const locks = lockLines(phase.events);
  if (locks.length > 0) lines.push('  mmu_lock', ...locks);
  const flushes = flushText(phase.events);
  if (flushes !== '') lines.push(`  TLB flushes  ${flushes}`);
  const statistics = counterText(phase);
  if (statistics !== '') lines.push(`  statistics   ${statistics}`);
  if (phase.end !== null) lines.push('  page table', ...phase.end.map(rowText));
  return lines;
}

function changeLines(changes: readonly SpteRun[], { kinds, describe }: PhaseTextOptions): string[] {
  const rows = changes.map((run) => {
    const where = `as ${run.asId} gfn ${hex(run.gfn)}${run.n > 1 ? ` and ${run.n - 1} more` : ''}`;
    const kind = kinds.kindOf(run);
    const bits = kind.startsWith('zap_') || kind.startsWith('freeze_') ? describe(run.old) : describe(run.next);
    const how = run.fast ? ' without mmu_lock' : '';
    return [run.by, LEVEL_NAMES[run.level] ?? `level ${run.level}`, where, `${kind}${how}`, bits] as const;
  });
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    `    ${row.map((cell, i) => (i < widths.length ? cell.padEnd(widths[i]) : cell)).join('  ')}`.trimEnd(),
  );
}

/** Holds in order, those of the same thread and mode counted together. */
function lockLines(events: readonly PhaseEvent[]): string[] {
  const holds: { by: string; mode: string; n: number }[] = [];
  for (const { e, by } of events) {
    const mode = /^mmu_lock\.(read|write)_lock$/.exec(e)?.[1];
    if (mode === undefined) continue;
    const last = holds.at(-1);
    if (last !== undefined && last.by === by && last.mode === mode) last.n++;
    else holds.push({ by, mode, n: 1 });
  }
  const text = holds.map(({ by, mode, n }) => `${by} ${mode}${n > 1 ? ` x${n}` : ''}`);
  const lines: string[] = [];
  for (let i = 0; i < text.length; i += 8) lines.push(`    ${text.slice(i, i + 8).join(', ')}`);
  return lines;
}

function flushText(events: readonly PhaseEvent[]): string {
  const by = new Map<string, number>();
  for (const event of events) if (event.e === 'flush_all') by.set(event.by, (by.get(event.by) ?? 0) + 1);
  return [...by].map(([name, n]) => `${name} ${n}`).join(', ');
}

function counterText(phase: PhaseRecord): string {
  return Object.entries(phase.counters)
    .flatMap(([object, values]) => {
      const changed = Object.entries(values).filter(([, { delta }]) => delta !== 0);
      const words = changed.map(([name, { delta }]) => `${name} ${delta > 0 ? '+' : ''}${delta}`);
      return words.length > 0 ? [`${object}: ${words.join(', ')}`] : [];
    })
    .join('; ');
}

function rowText({ gfn, level, table, n, bits }: StateRow): string {
  const indent = ' '.repeat(4 + 2 * Math.max(4 - level, 0));
  const what = table ? 'table' : `${n} x ${LEVEL_NAMES[level] ?? `level ${level}`}`;
  return `${indent}${hex(gfn)} ${what} ${bits}`;
}
