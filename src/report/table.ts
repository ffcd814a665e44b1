/**
 * Tables of plain text: columns as wide as their contents, numbers to the right, words to the left.
 */

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** The least width. */
  readonly width?: number;
}

const GAP = '  ';

/** The lines of a table. Cells must not hold colours: their lengths are what counts. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map(({ title, width = 0 }, i) =>
    Math.max(width, title.length, ...rows.map((row) => (row[i] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ align = 'right' }, i) =>
        align === 'left' ? (cells[i] ?? '').padEnd(widths[i]) : (cells[i] ?? '').padStart(widths[i]),
      )
      .join(GAP)
      .trimEnd();
  return [line(columns.map(({ title }) => title)), ...rows.map(line)];
}

/** `name   value` lines, indented. */
export function pairs(rows: readonly (readonly [string, string])[]): string[] {
  const names = Math.max(0, ...rows.map(([name]) => name.length));
  const values = Math.max(0, ...rows.map(([, value]) => value.length));
  return rows.map(([name, value]) => `  ${name.padEnd(names)}  ${value.padStart(values)}`);
}

/** `a 1, b 2, …` broken into indented lines of at most `width` columns. */
export function flow(items: readonly string[], width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const item of items) {
    if (line !== '' && line.length + GAP.length + item.length > width) {
      lines.push(line);
      line = '';
    }
    line += `${GAP}${item}`;
  }
  return line === '' ? lines : [...lines, line];
}
