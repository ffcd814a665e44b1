import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseScript } from '../../src/script/parse.ts';
import { runScript } from '../../src/script/run-script.ts';
import { OPERATIONS, type OperationDefinition } from '../../src/script/vocabulary.ts';

const text = readFileSync(new URL('../../src/script/language.md', import.meta.url), 'utf8');
const examples = [...text.matchAll(/```kt\n([\s\S]*?)```/g)].map(([, example]) => example);

describe('the reference of the language', () => {
  it.each(Object.entries<OperationDefinition>(OPERATIONS))('names %s and its parameters', (name, { args, keys }) => {
    expect(new RegExp(`\`${name}\\b`).test(text), name).toBe(true);
    for (const { name: parameter, choices = [] } of [...args.slice(1), ...keys]) {
      expect(new RegExp(`\`[^\`]*\\b${parameter}\\b|${parameter.toUpperCase()}`).test(text), parameter).toBe(true);
      if (parameter === 'advice' || parameter === 'how')
        for (const choice of choices) expect(text.includes(choice), choice).toBe(true);
    }
  });

  it('has examples', () => {
    expect(examples.length).toBeGreaterThan(1);
  });

  it.each(examples.map((example, i) => [i, example]))('example %i does what it says', (i, example) => {
    for (const seed of [1, 2, 3, 4, 5]) runScript(parseScript(`${example}`, `example ${i}`), { seed });
  });
});
