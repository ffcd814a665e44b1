import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COST_NAMES } from '../../../src/engines/virtual/price-list.ts';
import { PROFILES } from '../../../src/engines/virtual/profiles/index.ts';

const GROUPS = ['access', 'transfer', 'scheduler'] as const;

describe.each(Object.keys(PROFILES))('the prices of %s', (name) => {
  const source = readFileSync(new URL(`../../../src/engines/virtual/profiles/${name}.ts`, import.meta.url), 'utf8');
  /** What a price's comment says, by name. */
  const reasons = new Map(
    [...source.matchAll(/^ {4}(\w+): [\d_.]+,(?: \/\/ (.*))?$/gm)].map(([, price, why]) => [price, why ?? '']),
  );

  it('say each where it is from: a source that the head of the file names, or that it is assumed', () => {
    const sources = new Set([...source.matchAll(/^ \* - \[(\w+)\]/gm)].map(([, tag]) => tag));
    const vague = [...reasons].filter(([, why]) => {
      const tags = [...why.matchAll(/\[(\w+)\]/g)].map(([, tag]) => tag);
      if (tags.some((tag) => !sources.has(tag) && !inherited(tag))) return true;
      return tags.length === 0 && !/assumed|Linux|as memoryNs|there is no other socket/.test(why);
    });
    expect(vague).toEqual([]);
  });

  it('are all there, or another profile has them', () => {
    const all = [...GROUPS.flatMap((group) => Object.keys(PROFILES[name][group])), ...COST_NAMES];
    const elsewhere = source.includes('...skylake2s96');
    const numbers = all.filter((price) => !['resched', 'preemption'].includes(price));
    expect(numbers.filter((price) => !reasons.has(price) && !elsewhere)).toEqual([]);
  });

  /** Sources that the profile shares with the one that it is made from. */
  function inherited(tag: string): boolean {
    return source.includes('as for `skylake-2s-96`') && ['C2C', 'Agner', 'Opt', 'Walk', 'Clear'].includes(tag);
  }
});
