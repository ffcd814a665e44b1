/**
 * Durations and counts as the kernel's tools print them.
 */

const UNITS: readonly (readonly [number, string])[] = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'us'],
];

/** `5.26 ms`, `321 ns`: the form of `perf lock contention`. */
export function duration(ns: number): string {
  for (const [size, unit] of UNITS) if (ns >= size) return `${(ns / size).toFixed(2)} ${unit}`;
  return `${Math.round(ns)} ns`;
}

/** `1,234,567` */
export function count(n: number): string {
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1.84x`, `0.03x`; a dash where there is nothing to compare with. */
export function ratio(a: number, b: number): string {
  if (a === 0) return b === 0 ? '=' : '-';
  const times = b / a;
  return `${times >= 100 ? times.toFixed(0) : times.toFixed(2)}x`;
}

/** `12.3 %` of the whole; a dash of nothing. */
export function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`;
}
