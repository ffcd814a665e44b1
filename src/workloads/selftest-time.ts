/** Times as the selftests print them: seconds, a point, nine digits. */

export function seconds(ns: number): string {
  const whole = Math.max(0, Math.round(ns));
  return `${Math.floor(whole / 1e9)}.${String(whole % 1e9).padStart(9, '0')}`;
}

export const sumOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
