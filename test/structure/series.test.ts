import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
const page = readFileSync(path.join(root, 'src/mmu/series.md'), 'utf8');
const NONE = '—';

/** Headings that name a number of patches, and the rows below each. */
const sections = page
  .split(/^## /m)
  .slice(1)
  .map((text) => {
    const [title] = text.split('\n');
    const rows = text
      .split('\n')
      .filter((line) => /^\| \d+ \|/.test(line))
      .map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim())); // biome-ignore format: a chain
    return { title, rows };
  });

const sources = new Map<string, string>();
function source(file: string): string {
  if (!sources.has(file)) sources.set(file, existsSync(path.join(root, file)) ? readFileSync(path.join(root, file), 'utf8') : '');
  return sources.get(file)!;
}

/** Whether `text` defines something of that name. */
const defines = (text: string, name: string): boolean =>
  new RegExp(`(function\\*? |class |const |^  \\*?)${name}\\b`, 'm').test(text);

describe('the page of the series', () => {
  it('has a row for each patch, numbered', () => {
    expect(sections.map(({ title }) => title.replace(/:.*/, ''))).toHaveLength(5);
    for (const { title, rows } of sections) {
      expect(rows.length, title).toBe(Number(/: (\d+) (patches|rows)$/.exec(title)?.[1]));
      expect(rows.map(([number]) => Number(number))).toEqual(rows.map((_, i) => i + 1));
    }
  });

  it.each(sections.flatMap(({ rows }) => rows.map((row) => [row[1], row] as const)))('%s', (_, [, , where, test, remark]) => {
    if (where === NONE || test === NONE) {
      expect([where, test]).toEqual([NONE, NONE]);
      expect(remark, 'a patch without an effect needs a reason').not.toBe('');
      return;
    }
    const [, file, name] = /^`(src\/[^`]+)` `(\w+)`$/.exec(where) ?? [];
    expect(defines(source(file), name), `${where} is not there`).toBe(true);
    const [, testFile, title] = /^`(test\/[^`]+)` "(.*)"$/.exec(test) ?? [];
    expect(source(testFile).includes(`'${title}'`), `${test} is not there`).toBe(true);
  });
});
