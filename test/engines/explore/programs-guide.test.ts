import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { explore } from '../../../src/explore.ts';
import { ticketLock } from './ticket-lock.ts';

const text = (file: string): string => readFileSync(new URL(file, import.meta.url), 'utf8');

test('the guide shows the lock that is explored here', () => {
  const code = text('ticket-lock.ts').replace('../../../src/explore.ts', 'tdpsim/explore');
  expect(text('../../../src/engines/explore/programs.md')).toContain(code);
});

test.each(['sc', 'tso'] as const)('the lock of the guide holds under %s, and a broken one does not', async (memory) => {
  expect(await explore(ticketLock, { memory })).toMatchObject({ complete: true, blocked: 0, findings: [], states: 1 });
  const [a] = ticketLock.threads;
  const twice = { ...ticketLock, check: (words: Int32Array) => (words[4] === 2 ? 'two came by' : null), threads: [a, a] };
  expect((await explore(twice, { memory })).findings[0]).toMatchObject({ rule: 'check', message: 'two came by' });
});
