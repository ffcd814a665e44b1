/** A failing schedule as text: one column a thread, a row for what matters, and what the oracle has to say. */
import type { ChangeRow, ExploreTrace, TraceRow } from './explore-trace.ts';
import { heading, paint, type Style } from './style.ts';

/** Columns narrower than this cannot be read. */
const COLUMN_MIN = 24;
/** Wider ones only pull the threads apart. */
const COLUMN_MAX = 60;
const STEP_WIDTH = 5;
/** Width of {@link TraceRow.marks}. */
const MARKS_WIDTH = 2;

/** The lines of a failure. */
export function failureLines(trace: ExploreTrace, style: Style): string[] {
  const rows = tellingRows(trace);
  const shown = trace.threads.flatMap((_, thread) => (rows.some((row) => row.thread === thread) ? [thread] : []));
  const room = Math.floor((style.width - STEP_WIDTH - MARKS_WIDTH - 2) / Math.max(1, shown.length)) - 2;
  const width = Math.min(COLUMN_MAX, Math.max(COLUMN_MIN, room));
  const lines = [
    paint(style, 'dim', 'R, W: the thread holds mmu_lock for read, for write; r: it is in an RCU read-side section'),
    heading(
      style,
      cells(shown, (thread) => trace.threads[thread], width, 'step', ''),
    ),
  ];
  let last = -1;
  for (const row of rows) {
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

/** Rows but those that only say what the marks say as well. */
const tellingRows = ({ rows }: ExploreTrace): TraceRow[] => rows.filter(({ kind }) => kind !== 'rcu');

function cells(shown: readonly number[], text: (thread: number) => string, width: number, step: string, marks: string): string {
  const columns = shown.map((thread) => text(thread).padEnd(width)).join('  ');
  return `${step.padStart(STEP_WIDTH)} ${marks.padEnd(MARKS_WIDTH)} ${columns}`.trimEnd();
}

/** A row takes as many lines as its text needs. */
function rowLines(row: TraceRow, shown: readonly number[], width: number, style: Style): string[] {
  const parts = wrap(row.text, width);
  return parts.map((part, i) => {
    const [step, marks] = i === 0 ? [String(row.step), row.marks] : ['', ''];
    const line = cells(shown, (thread) => (thread === row.thread ? part : ''), width, step, marks);
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

/** The gfn that a finding is about, and the changes of SPTEs that map it, oldest first; null where it names none. */
export function historyOf({
  finding,
  changes,
}: ExploreTrace): { readonly gfn: number; readonly changes: readonly ChangeRow[] } | null {
  const named = /gfn (0x[0-9a-f]+)/.exec(finding?.message ?? '')?.[1];
  if (named === undefined) return null;
  const gfn = Number(named);
  const own = changes.filter((change) => change.gfn <= gfn && gfn < change.gfn + change.pages);
  return own.length === 0 ? null : { gfn, changes: own };
}

function historyLines(trace: ExploreTrace): string[] {
  const history = historyOf(trace);
  if (history === null) return [];
  const { gfn, changes } = history;
  return ['', `history of gfn 0x${gfn.toString(16)}:`, ...changes.map((c) => `  step ${c.step}, ${c.thread}: ${c.text}`)];
}
