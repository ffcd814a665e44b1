/**
 * Sizes as the selftests and qemu write them: a number and a unit of 1024 (kernel: parse_size in lib/test_util.c).
 */
import { UsageError } from './usage-error.ts';

/** Bytes of a guest page. */
export const PAGE_BYTES = 4096;

const UNITS = ['', 'K', 'M', 'G', 'T', 'P'] as const;

/**
 * Bytes of `text`: `4K`, `12M`, `1.5G`, `1T`, or a plain number of bytes; hexadecimal with `0x`. The case of the unit does not
 * matter, and a trailing `B` or `iB` is allowed.
 *
 * @param what names the value in the error, for instance the option
 */
export function parseSize(text: string, what = 'size'): number {
  const match = /^(0x[0-9a-f]+|\d+(?:\.\d+)?)([kmgtp]?)(?:i?b)?$/i.exec(text.trim());
  const bytes = match ? Number(match[1]) * 1024 ** UNITS.indexOf(match[2].toUpperCase() as (typeof UNITS)[number]) : Number.NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw new UsageError(`${what}: '${text}' is no size: give a number of bytes with K, M, G, T or P, for example 4K, 12M, 1G`);
  }
  return bytes;
}

/** The shortest exact form: `12M`, `1G`, `4097`. */
export function formatSize(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value !== 0 && value % 1024 === 0 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value}${UNITS[unit]}`;
}
