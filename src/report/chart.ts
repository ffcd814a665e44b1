/**
 * Charts of plain text: a line of blocks over time, and curves over a grid.
 */
const BLOCKS = ' ▁▂▃▄▅▆▇█';

/** `values` as a line of at most `width` blocks, each scaled to the largest. */
export function sparkline(values: readonly number[], width: number): string {
  const per = Math.max(1, Math.ceil(values.length / width));
  const means: number[] = [];
  for (let i = 0; i < values.length; i += per) {
    const part = values.slice(i, i + per);
    means.push(part.reduce((a, b) => a + b, 0) / part.length);
  }
  const most = Math.max(0, ...means);
  return means.map((n) => BLOCKS[most === 0 ? 0 : Math.ceil((n / most) * (BLOCKS.length - 1))]).join('');
}

export interface Curve {
  readonly name: string;
  /** A value for each point of the axis; NaN where there is none. */
  readonly values: readonly number[];
}

const MARKS = '*o+x#@%&';

/** Curves over the points of an axis, both logarithmic: rows from the largest value down, then the axis and the legend. */
export function chart(axis: readonly number[], curves: readonly Curve[], rows = 14, gap = 6): string[] {
  const all = curves.flatMap(({ values }) => values).filter((v) => v > 0);
  if (all.length === 0) return [];
  const low = Math.log10(Math.min(...all));
  const high = Math.max(Math.log10(Math.max(...all)), low + 0.3);
  const grid = Array.from({ length: rows }, () => Array.from({ length: gap * axis.length }, () => ' '));
  curves.forEach(({ values }, c) => {
    values.forEach((value, i) => {
      if (!(value > 0)) return;
      const row = Math.round(((Math.log10(value) - low) / (high - low)) * (rows - 1));
      const cells = grid[rows - 1 - row];
      const at = gap * i + gap - 2;
      cells[at] = cells[at] === ' ' ? MARKS[c % MARKS.length] : '=';
    });
  });
  const scale = (row: number): string => {
    if (row % 4 !== 0 && row !== rows - 1) return ''.padStart(9);
    return (10 ** (high - ((high - low) * row) / (rows - 1))).toPrecision(3).padStart(9);
  };
  return [
    ...grid.map((cells, row) => `${scale(row)} |${cells.join('')}`.trimEnd()),
    `${''.padStart(9)} +${'-'.repeat(gap * axis.length)}`,
    `${''.padStart(11)}${axis
      .map((n) =>
        String(n)
          .padStart(gap - 1)
          .padEnd(gap),
      )
      .join('')}`.trimEnd(),
    ...curves.map(({ name }, c) => `${''.padStart(11)}${MARKS[c % MARKS.length]} ${name}`),
    ...(curves.length > 1 ? [`${''.padStart(11)}= several`] : []),
  ];
}
