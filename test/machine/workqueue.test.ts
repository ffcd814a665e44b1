import { describe, expect, it } from 'vitest';
import type { Task } from '../../src/machine/point.ts';
import type { Thread } from '../../src/machine/thread.ts';
import {
  finishWork,
  flushWorkqueue,
  nextWork,
  queueWork,
  stopWorkqueue,
  WORKQUEUE_CAPACITY,
  WORKQUEUE_WORDS,
  Workqueue,
} from '../../src/machine/workqueue.ts';
import { forSeeds, ruleBrokenBy, TestMachine } from './machine.ts';

function setup(threads: number): { machine: TestMachine; queue: Workqueue } {
  const machine = new TestMachine({ threads });
  return { machine, queue: new Workqueue(machine.reserve(WORKQUEUE_WORDS)) };
}

describe('a work queue', () => {
  it('runs each item once, flushes what was queued, and lets workers go when it stops, under 300 schedules', () => {
    forSeeds(300, (seed) => {
      const { machine, queue } = setup(4);
      const finished: string[] = [];
      let producers = 2;
      function* worker(thread: Thread): Task<void> {
        for (let item = yield* nextWork(queue, thread); item; item = yield* nextWork(queue, thread)) {
          finished.push(`${item.kind}:${item.argument}`);
          yield* finishWork(queue, thread, item);
        }
      }
      function* producer(thread: Thread): Task<void> {
        for (let i = 0; i < 3; i++) {
          expect(yield* queueWork(queue, thread, thread.id, i)).toBe(true);
          if (i === 1) {
            yield* flushWorkqueue(queue, thread);
            expect(finished).toEqual(expect.arrayContaining([`${thread.id}:0`, `${thread.id}:1`]));
          }
        }
        if (--producers === 0) yield* stopWorkqueue(queue, thread);
      }
      const [a, b, c, d] = machine.threads;
      machine.together([worker(a), worker(b), producer(c), producer(d)], seed);
      expect(finished.toSorted()).toEqual(['2:0', '2:1', '2:2', '3:0', '3:1', '3:2']);
    });
  });

  it('does not take a later item that is done for an earlier one that is not', () => {
    const { machine, queue } = setup(2);
    const [worker, other] = machine.threads;
    for (let i = 0; i < 2; i++) machine.run(queueWork(queue, other, 0, i));
    const first = machine.run(nextWork(queue, worker))!;
    const second = machine.run(nextWork(queue, worker))!;
    expect([first.argument, second.argument]).toEqual([0, 1]);
    machine.run(finishWork(queue, worker, second));
    expect(ruleBrokenBy(() => machine.run(flushWorkqueue(queue, other)))).toBe('deadlock');
    machine.run(finishWork(queue, worker, first));
    machine.run(flushWorkqueue(queue, other));
    expect(ruleBrokenBy(() => machine.run(finishWork(queue, worker, first)))).toBe('work-finished-twice');
  });

  it('refuses items when it is full or stopped, and runs what it has', () => {
    const { machine, queue } = setup(1);
    const [thread] = machine.threads;
    const accepted = Array.from({ length: WORKQUEUE_CAPACITY + 1 }, (_, i) => machine.run(queueWork(queue, thread, 0, i)));
    expect(accepted.indexOf(false)).toBe(WORKQUEUE_CAPACITY);
    for (let round = 0; round < WORKQUEUE_CAPACITY; round++) {
      const item = machine.run(nextWork(queue, thread))!;
      expect(item.argument).toBe(round);
      machine.run(finishWork(queue, thread, item));
    }
    expect(machine.run(queueWork(queue, thread, 9, 1000))).toBe(true);
    machine.run(stopWorkqueue(queue, thread));
    expect(machine.run(queueWork(queue, thread, 0, 0))).toBe(false);
    expect(machine.run(nextWork(queue, thread))).toEqual({ kind: 9, argument: 1000, ticket: WORKQUEUE_CAPACITY });
    expect(machine.run(nextWork(queue, thread))).toBeNull();
  });
});
