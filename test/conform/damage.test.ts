import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { lineOfPath } from '../../src/conform/json-line.ts';
import { parseRecording, readRecording } from '../../src/conform/recording.ts';
import { ScriptError } from '../../src/script/script-error.ts';

const FILE = fileURLToPath(new URL('../data/kvm-truth/linux-6.12/05_misaligned_slot.json.gz', import.meta.url));
const text = gunzipSync(readFileSync(FILE)).toString('utf8');

/** The message about the recording after one replacement. */
function damage(from: string | RegExp, to: string): string {
  const damaged = text.replace(from, to);
  expect(damaged).not.toBe(text);
  try {
    parseRecording(damaged, 'r.json');
  } catch (error) {
    if (error instanceof ScriptError) return error.message;
    throw error;
  }
  throw new Error('no error');
}

/** The line of the first occurrence of `part`. */
const lineOf = (part: string): number => text.slice(0, text.indexOf(part)).split('\n').length;

describe('a damaged recording', () => {
  it('is whole before', () => {
    expect(parseRecording(text, 'r.json').phases).toHaveLength(3);
  });

  it.each<[string | RegExp, string, string, string]>([
    ['"op": "slot"', '"op": "slit"', '"op": "slot"', "unknown operation 'slit' (allowed: "],
    ['"npages": 1536', '"npages": 15360', '"npages"', "go beyond memory 'A' (allowed: up to 8388608 bytes)"],
    [
      '"npages": 1536',
      '"nqages": 1536',
      '"npages"',
      "slot: unknown parameter 'nqages=' (allowed: gfn, npages, mem, off, flags, as)",
    ],
    [
      '"as_id": 0, "gfn": "0x0"',
      '"as_id": 0',
      '"as_id": 0, "gfn": "0x0"',
      'phases[1].changes[0].gfn is missing, not a whole number',
    ],
    [/"old": "0x8000000000000000"/, '"old": "zero"', '"old": "0x8000000000000000"', '.old is "zero", not an SPTE in hexadecimal'],
    ['"e": "npf"', '"e": "nqf"', '"e": "npf"', "unknown event 'nqf' (allowed: spte, npf, "],
    ['"i": 1}', '"i": 999}', '"i": 1}', 'there is no change 999 (allowed: 0 to '],
    [
      'Linux 6.12.117',
      'Linux 4.19.0',
      'Linux 6.12.117',
      'no model of kernel 4.19 (allowed: Linux 5.15, Linux 5.18, Linux 6.1, Linux 6.12, Linux 6.13)',
    ],
    ['Linux 6.12.117+deb12-amd64 (Debian 6.12.117-1~deb12u1)', 'Linux', 'Linux 6.12.117', 'names no kernel version'],
  ])('%s -> %s', (from, to, part, message) => {
    const told = damage(from, to);
    expect(told).toContain(message);
    expect(told.startsWith(`r.json:${lineOf(part)}: `), told).toBe(true);
  });

  it('is told by line where it is no JSON', () => {
    expect(damage('"scenario": ', '"scenario" ')).toMatch(/^r\.json:\d+: is no JSON: /);
    expect(() => parseRecording(text.slice(0, 5000), 'r.json')).toThrow(/^r\.json:\d+: is no JSON/);
  });

  it('is told where it cannot be read', () => {
    expect(() => readRecording('/nowhere/x.json.gz')).toThrow(/^\/nowhere\/x\.json\.gz: cannot be read: ENOENT/);
  });
});

describe('lines of JSON', () => {
  const json = '{\n "a": [1,\n  {"b": "x\\"]}",\n   "c": {}}],\n "d": null\n}';
  it.each<[readonly (string | number)[], number]>([
    [[], 1],
    [['a'], 2],
    [['a', 1], 3],
    [['a', 1, 'b'], 3],
    [['a', 1, 'c'], 4],
    [['d'], 5],
    [['a', 1, 'missing'], 3],
    [['a', 7], 2],
  ])('of %j', (path, line) => {
    expect(lineOfPath(json, path)).toBe(line);
  });
});
