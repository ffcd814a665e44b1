import { describe, expect, it } from 'vitest';
import type { RunOutcome } from '../../src/report/outcome.ts';
import { count, duration, percent, ratio } from '../../src/report/quantity.ts';
import { PLAIN, paint, styleOf } from '../../src/report/style.ts';
import { flow, pairs, table } from '../../src/report/table.ts';
import { verdictLine, verdictOf } from '../../src/report/verdict.ts';

describe('quantities', () => {
  it.each([
    [0, '0 ns'],
    [999, '999 ns'],
    [1000, '1.00 us'],
    [5_260_000, '5.26 ms'],
    [2.5e9, '2.50 s'],
  ])('%d ns', (ns, text) => {
    expect(duration(ns)).toBe(text);
  });

  it('groups digits', () => {
    expect([0, 999, 1000, 1234567].map(count)).toEqual(['0', '999', '1,000', '1,234,567']);
  });

  it('compares', () => {
    expect([ratio(2, 1), ratio(1, 514), ratio(0, 0), ratio(0, 5)]).toEqual(['0.50x', '514x', '=', '-']);
    expect([percent(1, 8), percent(0, 0)]).toEqual(['12.5 %', '-']);
  });
});

describe('tables', () => {
  it('are as wide as their contents', () => {
    expect(
      table(
        [{ title: 'name', align: 'left' }, { title: 'n' }],
        [
          ['a', '1'],
          ['longer', '22'],
        ],
      ),
    ).toEqual(['name     n', 'a        1', 'longer  22']);
    expect(
      pairs([
        ['a', '1'],
        ['bb', '22'],
      ]),
    ).toEqual(['  a    1', '  bb  22']);
  });

  it('flow within the width', () => {
    expect(flow(['aa 1', 'bb 2', 'cc 3'], 14)).toEqual(['  aa 1  bb 2', '  cc 3']);
  });
});

describe('colours', () => {
  const terminal = { isTTY: true, columns: 100 };
  it.each([
    ['a terminal', terminal, {}, true],
    ['a file', {}, {}, false],
    ['NO_COLOR', terminal, { NO_COLOR: '1' }, false],
    ['a dumb terminal', terminal, { TERM: 'dumb' }, false],
    ['FORCE_COLOR', {}, { FORCE_COLOR: '1' }, true],
  ])('%s', (_, stream, env, colour) => {
    expect(styleOf(stream, env).colour).toBe(colour);
  });

  it('are codes around the text, or nothing', () => {
    expect(paint(PLAIN, 'red', 'text')).toBe('text');
    expect(paint({ ...PLAIN, colour: true }, 'red', 'text')).toBe('\x1b[31mtext\x1b[39m');
  });
});

describe('the verdict', () => {
  const outcome = (changes: { result?: object; reports?: object[] }): RunOutcome =>
    ({
      result: { complete: true, exitCode: 0, reason: '', ...changes.result },
      examinations: [{ at: 'end', reports: changes.reports ?? [{ oracle: 'tree', violations: [], total: 0 }] }],
      timeOver: false,
    }) as unknown as RunOutcome;
  const violation = { oracle: 'tlb', rule: 'stale-translation', where: {}, message: 'gfn 0x5 is still cached' };

  it.each([
    ['all is well', outcome({}), 0, 'PASS: 1 oracles found nothing wrong at the end'],
    [
      'an oracle objects',
      outcome({ reports: [{ oracle: 'tlb', violations: [violation], total: 3 }] }),
      127,
      'FAIL: tlb: stale-translation: gfn 0x5 is still cached (and 2 more)',
    ],
    [
      'a thread failed',
      outcome({ result: { complete: false, exitCode: 127, reason: 'vcpu 1: some-rule: text' } }),
      127,
      'FAIL: vcpu 1: some-rule: text',
    ],
    [
      'nobody gets on',
      outcome({ result: { complete: false, exitCode: 128, reason: 'no progress for 10 s' } }),
      128,
      'FAIL: no progress for 10 s',
    ],
    [
      'it was interrupted',
      outcome({ result: { complete: false, exitCode: 130, reason: 'interrupted' } }),
      130,
      'INCOMPLETE: interrupted',
    ],
  ])('where %s', (_, run, exitCode, line) => {
    const verdict = verdictOf(run);
    expect(verdictLine(verdict)).toBe(line);
    expect(verdict.exitCode).toBe(exitCode);
  });
});
