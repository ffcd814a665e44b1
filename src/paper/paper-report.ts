/**
 * Published and simulated side by side.
 */
import { table } from '../report/table.ts';
import { deviationOf, type Figure, MISS } from './figure.ts';

const number = (value: number): string => {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(1) : value.toPrecision(3);
};

export function figureLines(figures: readonly Figure[]): string[] {
  const rows = figures.map((figure) => {
    const { name, unit, published, simulated, kind } = figure;
    const deviation = deviationOf(figure);
    const off = deviation === null ? '' : `${deviation >= 0 ? '+' : ''}${(100 * deviation).toFixed(1)} %`;
    return [`  ${name}`, published === null ? '-' : `${number(published)} ${unit}`, `${number(simulated)} ${unit}`, off, kind];
  });
  const columns = [
    { title: '', align: 'left' as const },
    { title: 'published' },
    { title: 'simulated' },
    { title: 'deviation' },
    { title: '', align: 'left' as const },
  ];
  const notes = figures
    .filter((figure) => figure.why !== undefined && misses(figure))
    .map(({ name, why }) => `  ${name}: ${why}`);
  return [...table(columns, rows), ...notes];
}

export const misses = (figure: Figure): boolean => Math.abs(deviationOf(figure) ?? 0) > MISS;

/** One line over many papers: how many predictions, and how far off. */
export function summaryLine(figures: readonly Figure[]): string {
  const predicted = figures.filter(({ kind, published }) => kind === 'predicted' && published !== null);
  const near = predicted.filter((figure) => Math.abs(deviationOf(figure)!) <= 0.1).length;
  const fitted = figures.filter(({ kind }) => kind === 'fitted').length;
  return `${predicted.length} predicted figures, ${near} of them within 10 %; ${fitted} fitted; ${figures.length - predicted.length - fitted} without a published number`;
}
