import { expect, test } from 'vitest';
import { EventQueue } from '../../../src/engines/virtual/event-queue.ts';
import { nextRandom } from '../../../src/engines/virtual/random.ts';

test('items come out by time, then by rank, whatever was pushed, re-timed and removed before', () => {
  const n = 300;
  const queue = new EventQueue(n);
  const keys = new Map<number, [time: number, rank: number]>();
  let random = 12345;
  const draw = (below: number): number => {
    random = nextRandom(random);
    return (random >>> 0) % below;
  };
  const least = (): [number, [number, number]] =>
    [...keys].reduce((a, b) => (b[1][0] < a[1][0] || (b[1][0] === a[1][0] && b[1][1] < a[1][1]) ? b : a));
  for (let round = 0; round < 5000; round++) {
    const item = draw(n);
    // Few distinct times, so that ties are common; ranks are distinct.
    const key: [number, number] = [draw(20), round];
    if (!keys.has(item)) {
      keys.set(item, key);
      queue.push(item, key[0], key[1]);
    } else if (draw(2) === 0) {
      keys.delete(item);
      queue.remove(item);
    } else {
      const top = queue.items[0];
      const later: [number, number] = [keys.get(top)![0] + draw(5) + 1, round];
      keys.set(top, later);
      queue.replaceTop(later[0], later[1]);
    }
    expect(queue.size).toBe(keys.size);
    if (keys.size === 0) continue;
    const [first, [time, rank]] = least();
    expect([queue.items[0], queue.times[0], queue.ranks[0]]).toEqual([first, time, rank]);
    if (keys.size === 1) {
      expect(queue.runnerUp()).toBe(0);
      continue;
    }
    const kept = keys.get(first)!;
    keys.delete(first);
    expect(queue.items[queue.runnerUp()]).toBe(least()[0]);
    keys.set(first, kept);
  }
});

test('an item knows whether it is in the queue', () => {
  const queue = new EventQueue(4);
  queue.push(2, 10, 0);
  queue.push(3, 5, 0);
  expect([queue.has(2), queue.has(3), queue.has(1)]).toEqual([true, true, false]);
  queue.removeTop();
  expect([queue.has(2), queue.has(3)]).toEqual([true, false]);
});
