import { describe, expect, it } from 'vitest';
import { allCounters, COUNTER_SLOTS, Counter, defineCounters, MACHINE_COUNTERS } from '../../src/machine/counters.ts';

describe('counters', () => {
  it('get an index each, and can be listed with what they mean', () => {
    expect(new Set(Object.values(Counter)).size).toBe(MACHINE_COUNTERS.length);
    const listed = allCounters().find(({ index }) => index === Counter.flushRequests);
    expect(listed).toMatchObject({ name: 'flushRequests', unit: 'flushes' });
  });

  it('of two tables may not share a slot', () => {
    const row = { name: 'other', unit: 'times', help: 'a test' };
    expect(() => defineCounters(Counter.flushRequests, [row])).toThrow('counters flushRequests and other share slot');
    expect(() => defineCounters(COUNTER_SLOTS, [row])).toThrow('no slot');
    expect(() => defineCounters(COUNTER_SLOTS - 2, [row, row])).toThrow('twice');
  });
});
