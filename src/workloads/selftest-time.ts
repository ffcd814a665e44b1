/** Times as the selftests print them: seconds, a point, nine digits. */

export function seconds(ns: number): string {
  const whole = Math.max(0, Math.round(ns));
  return `${Math.floor(whole / 1e9)}.${String(whole % 1e9).padStart(9, '0')}`;
}

export const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/** A row of times as the selftests sum it up: `Zapping all roots 3 times took 0.006000000s. (Avg 0.002000000s)`. */
export function tookLine(what: string, times: readonly number[]): string {
  return `${what} took ${seconds(sumOf(times))}s. (Avg ${seconds(sumOf(times) / times.length)}s)`;
}
