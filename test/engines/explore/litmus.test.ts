import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseLitmus, runLitmus } from '../../../src/explore.ts';

const tests = parseLitmus(readFileSync(new URL('../../data/litmus.json', import.meta.url), 'utf8'));

describe('x86 litmus tests: verdicts and numbers of final states under SC and TSO', () => {
  test.each(tests.map((t) => [t.name, t] as const))('%s', (_, t) => {
    const result = runLitmus(t);
    expect({ SC: result.SC.verdict, TSO: result.TSO.verdict, states: { SC: result.SC.states, TSO: result.TSO.states } }).toEqual({
      SC: t.SC,
      TSO: t.TSO,
      states: t.states,
    });
    expect(result.agrees).toBe(true);
  });

  test('a wrong expectation is told', () => {
    expect(runLitmus({ ...tests[0], TSO: 'Forbidden' }).agrees).toBe(false);
    expect(runLitmus({ ...tests[0], SC: undefined, TSO: undefined, states: undefined }).agrees).toBeNull();
  });
});

describe('files that cannot be understood', () => {
  const file = (test: object): string => JSON.stringify({ tests: [test] });
  const sb = { name: 'SB', threads: [[['W', 'x', 1]], [['R', 'x', 'r0']]], final: [{ '1:r0': 1 }] };

  test.each([
    ['{', /no JSON/],
    ['{}', /no list "tests"/],
    [file({ ...sb, name: '' }), /test 1 has no name/],
    [file({ ...sb, threads: 3 }), /"SB": "threads" is no list/],
    [file({ ...sb, threads: [[['Q', 'x']]] }), /thread 0, instruction 1: there is no instruction "Q": take one of W, R, F, X, C/],
    [file({ ...sb, threads: [[['W', 'x']]] }), /W takes 2 arguments \(word, value\), not 1/],
    [file({ ...sb, threads: [[['W', 'x', 'one']]] }), /"one" is no integer/],
    [file({ ...sb, final: [{ '1:r7': 1 }] }), /"final" names 1:r7, which no instruction touches/],
    [file({ ...sb, final: [{ '1:r0': 'x' }] }), /which is no integer/],
    [file({ ...sb, SC: 'Maybe' }), /"Maybe" is no verdict/],
  ])('%s', (text, message) => {
    expect(() => parseLitmus(text)).toThrow(message);
  });
});
