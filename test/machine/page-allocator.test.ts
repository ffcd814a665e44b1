import { describe, expect, it } from 'vitest';
import { Counter } from '../../src/machine/counters.ts';
import { LockNumber } from '../../src/machine/lock-number.ts';
import { freePage, markLive, markUnlinked, PAGE_DESCRIPTOR_WORDS, PageState, POISON } from '../../src/machine/page-allocator.ts';
import {
  allocPage,
  drainPageCache,
  PageCache,
  returnToCache,
  takeFromCache,
  topupPageCache,
  tryAllocPage,
} from '../../src/machine/page-cache.ts';
import { own, type Task } from '../../src/machine/point.ts';
import { callRcu } from '../../src/machine/rcu.ts';
import { SPINLOCK_WORDS, SpinLock, spinLock } from '../../src/machine/spinlock.ts';
import type { Thread } from '../../src/machine/thread.ts';
import { ZERO64 } from '../../src/machine/word64.ts';
import { forSeeds, INITIAL, recordingProbe, ruleBrokenBy, TestMachine } from './machine.ts';

/** The table of `page`, as words. */
function table({ memory, allocator }: TestMachine, page: number): number[] {
  const base = allocator.tableOf(page);
  return [...memory.words.subarray(base, base + 2 * allocator.entries)];
}

const filled = ({ lo, hi }: { lo: number; hi: number }, entries: number): number[] => Array(entries).fill([lo, hi]).flat();

describe('the page allocator', () => {
  it('hands out empty pages, never page 0, until there are no more', () => {
    const machine = new TestMachine({ pages: 5 });
    const { allocator, memory } = machine;
    const [thread] = machine.threads;
    const pages = Array.from({ length: 5 }, () => machine.run(tryAllocPage(allocator, thread)));
    expect(pages).toEqual([1, 2, 3, 4, 0]);
    expect(pages.slice(0, 4).map((page) => table(machine, page))).toEqual(Array(4).fill(filled(INITIAL, 4)));
    expect(table(machine, 0)).toEqual(filled(ZERO64, 4));
    expect(allocator.usedPages(memory)).toBe(4);
    expect(thread.counters[Counter.allocationsFailed]).toBe(1);
  });

  it('poisons what is freed, hands out the page freed last first, and clears its descriptor', () => {
    const { probe, events } = recordingProbe();
    const machine = new TestMachine({ environment: { probe } });
    const { allocator, memory } = machine;
    const [thread] = machine.threads;
    const [a, b] = [machine.run(tryAllocPage(allocator, thread)), machine.run(tryAllocPage(allocator, thread))];
    for (let word = 4; word < PAGE_DESCRIPTOR_WORDS; word++) memory.store32(own(allocator.word(b, word)), 77);
    machine.run(freePage(allocator, thread, a, PageState.cached));
    machine.run(freePage(allocator, thread, b, PageState.cached));
    expect(table(machine, b)).toEqual(filled(POISON, 4));
    expect(machine.run(tryAllocPage(allocator, thread))).toBe(b);
    expect(table(machine, b)).toEqual(filled(INITIAL, 4));
    const descriptor = allocator.descriptorOf(b);
    expect([...memory.words.subarray(descriptor, descriptor + PAGE_DESCRIPTOR_WORDS)]).toEqual([
      PageState.cached,
      0,
      thread.id + 1,
      ...Array(13).fill(0),
    ]);
    expect(machine.run(tryAllocPage(allocator, thread))).toBe(a);
    expect(machine.run(tryAllocPage(allocator, thread))).toBe(3);
    expect(thread.counters[Counter.pagesReused]).toBe(2);
    expect(events.filter(([event]) => event === 'pageAllocated').map(([, page, fresh]) => [page, fresh])).toEqual([
      [a, true],
      [b, true],
      [b, false],
      [a, false],
      [3, true],
    ]);
  });

  it('knows the page of a table word', () => {
    const { allocator } = new TestMachine();
    expect([0, 1, 7, 8, 15, 16].map((word) => allocator.pageOfTable(own((allocator.tables + word) as never)))).toEqual([
      0, 0, 0, 1, 1, 2,
    ]);
    expect(allocator.pageOfTable(own((allocator.tables - 1) as never))).toBe(-1);
  });

  it('checks each change of state', () => {
    const machine = new TestMachine();
    const { allocator, memory } = machine;
    const [a, b] = machine.threads;
    const page = machine.run(tryAllocPage(allocator, a));
    expect(ruleBrokenBy(() => machine.run(freePage(allocator, a, page, PageState.live)))).toBe('page-state');
    markLive(allocator, a, page);
    expect(ruleBrokenBy(() => markLive(allocator, b, page))).toBe('page-state');
    markUnlinked(allocator, a, page);
    expect(allocator.stateOf(memory, page)).toBe(PageState.cached);
    machine.run(freePage(allocator, a, page, PageState.cached));
    expect(() => machine.run(freePage(allocator, b, page, PageState.cached))).toThrow(
      'thread 1: page 1 goes from cached to free, but is free since thread 0',
    );
    expect(ruleBrokenBy(() => machine.run(freePage(allocator, b, page, PageState.live)))).toBe('double-free');
    expect(ruleBrokenBy(() => markLive(allocator, a, 0))).toBe('page-state');
    expect(ruleBrokenBy(() => markLive(allocator, a, allocator.pages))).toBe('page-state');
  });

  it('gives each page to one thread at a time, under 500 schedules', () => {
    forSeeds(500, (seed) => {
      const machine = new TestMachine({ threads: 3, pages: 5 });
      const { allocator, memory } = machine;
      const owners = new Map<number, number>();
      function* churn(thread: Thread): Task<void> {
        for (let i = 0; i < 4; i++) {
          const mine = [yield* tryAllocPage(allocator, thread), yield* tryAllocPage(allocator, thread)].filter(
            (page) => page !== 0,
          );
          for (const page of mine) {
            if (owners.has(page)) throw new Error(`page ${page} has two owners`);
            owners.set(page, thread.id);
          }
          for (const page of mine) {
            owners.delete(page);
            yield* freePage(allocator, thread, page, PageState.cached);
          }
        }
      }
      machine.together(machine.threads.map(churn), seed);
      expect(allocator.usedPages(memory)).toBe(0);
    });
  });

  it('fails where it is told to, but only allocations that must not sleep', () => {
    let calls = 0;
    const machine = new TestMachine({ environment: { failAllocation: () => ++calls % 2 === 1 } });
    const [thread] = machine.threads;
    expect(machine.run(tryAllocPage(machine.allocator, thread))).toBe(0);
    expect(machine.run(tryAllocPage(machine.allocator, thread))).toBe(1);
    expect(machine.run(allocPage(machine.allocator, thread))).toBe(2);
    expect(calls).toBe(2);
  });

  it('frees pages that wait for a grace period before it gives up, if it may sleep', () => {
    const machine = new TestMachine({ pages: 2 });
    const { allocator, rcu } = machine;
    const [thread] = machine.threads;
    const page = machine.run(allocPage(allocator, thread));
    markLive(allocator, thread, page);
    machine.run(callRcu(rcu, thread, page));
    expect(machine.run(tryAllocPage(allocator, thread))).toBe(0);
    expect(machine.run(allocPage(allocator, thread))).toBe(page);
    expect(machine.run(allocPage(allocator, thread))).toBe(0);
  });
});

describe('a page cache', () => {
  it('is filled up when it holds too little, and not before', () => {
    const machine = new TestMachine({ pages: 12 });
    const { allocator } = machine;
    const [thread] = machine.threads;
    const cache = new PageCache(5);
    expect(machine.run(topupPageCache(cache, allocator, thread, 3))).toBe(true);
    expect(cache.pages).toHaveLength(5);
    takeFromCache(cache);
    takeFromCache(cache);
    expect(machine.stepsOf(topupPageCache(cache, allocator, thread, 3))).toEqual([]);
    takeFromCache(cache);
    expect(machine.run(topupPageCache(cache, allocator, thread, 3))).toBe(true);
    expect(cache.pages).toHaveLength(5);
    expect(machine.run(topupPageCache(cache, allocator, thread, 9))).toBe(false);
    expect(cache.pages).toHaveLength(8);
    machine.run(drainPageCache(cache, allocator, thread));
    expect(allocator.usedPages(machine.memory)).toBe(3);
  });

  it('takes a page back empty', () => {
    const machine = new TestMachine();
    const { allocator, memory } = machine;
    const [thread] = machine.threads;
    const cache = new PageCache(1);
    machine.run(topupPageCache(cache, allocator, thread, 1));
    const page = takeFromCache(cache);
    expect(ruleBrokenBy(() => takeFromCache(cache))).toBe('page-cache-empty');
    markLive(allocator, thread, page);
    memory.store64(own(allocator.tableOf(page)), POISON);
    returnToCache(cache, allocator, thread, page);
    expect(allocator.stateOf(memory, page)).toBe(PageState.cached);
    expect(table(machine, page)).toEqual(filled(INITIAL, 4));
    expect(takeFromCache(cache)).toBe(page);
  });

  it('may not be filled up where nobody may sleep', () => {
    const machine = new TestMachine();
    const [thread] = machine.threads;
    machine.run(spinLock(new SpinLock(machine.reserve(SPINLOCK_WORDS), LockNumber.mmuLock), thread, 0));
    expect(ruleBrokenBy(() => machine.run(topupPageCache(new PageCache(), machine.allocator, thread, 1)))).toBe(
      'sleeping-in-atomic',
    );
    expect(ruleBrokenBy(() => machine.run(allocPage(machine.allocator, thread)))).toBe('sleeping-in-atomic');
    expect(machine.run(tryAllocPage(machine.allocator, thread))).toBe(1);
  });
});
