/** A failing schedule as text: one column a thread, a row for what matters, and what the oracle has to say. */
import type { ExploreTrace, TraceRow } from './explore-trace.ts';
import { heading, paint, type Style } from './style.ts';

/** Columns narrower than this cannot be read. */
const COLUMN_MIN = 24;
const STEP_WIDTH = 5;

/** The lines of a failure. */
export function failureLines(trace: ExploreTrace, style: Style): string[] {
  const busy = trace.threads.map((_, thread) => trace.rows.some((row) => row.thread === thread));
  const shown = trace.threads.flatMap((_, thread) => (busy[thread] ? [thread] : []));
  const width = Math.max(COLUMN_MIN, Math.floor((style.width - STEP_WIDTH) / Math.max(1, shown.length)) - 2);
  const lines = [
    heading(
      style,
      cells(shown, (thread) => trace.threads[thread], width, 'step'),
    ),
  ];
  let last = -1;
  for (const row of trace.rows) {
    if (row.thread !== last && last >= 0) lines.push('');
    last = row.thread;
    lines.push(...rowLines(row, shown, width, style));
  }
  if (trace.finding !== null) {
    lines.push('', paint(style, 'red', `${trace.finding.rule}: ${trace.finding.message}`));
    lines.push(...historyLines(trace));
  }
  return lines;
}

function cells(shown: readonly number[], text: (thread: number) => string, width: number, step: string): string {
  return `${step.padStart(STEP_WIDTH)}  ${shown.map((thread) => text(thread).padEnd(width)).join('  ')}`.trimEnd();
}

/** A row takes as many lines as its text needs. */
function rowLines(row: TraceRow, shown: readonly number[], width: number, style: Style): string[] {
  const parts = wrap(row.text, width);
  return parts.map((part, i) => {
    const line = cells(shown, (thread) => (thread === row.thread ? part : ''), width, i === 0 ? String(row.step) : '');
    return row.kind === 'spte' ? paint(style, 'cyan', line) : row.kind === 'step' ? paint(style, 'dim', line) : line;
  });
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = `  ${word}`;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

/** The changes of the page that the finding names, oldest first. */
function historyLines({ finding, changes }: ExploreTrace): string[] {
  const gfn = Number(/gfn (0x[0-9a-f]+)/.exec(finding?.message ?? '')?.[1] ?? Number.NaN);
  const own = changes.filter((change) => change.gfn === gfn);
  if (own.length === 0) return [];
  return ['', `history of gfn 0x${gfn.toString(16)}:`, ...own.map((c) => `  step ${c.step}, ${c.thread}: ${c.text}`)];
}
