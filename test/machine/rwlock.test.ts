import { describe, expect, it } from 'vitest';
import { LockNumber } from '../../src/machine/lock-number.ts';
import { type Address, read, StepKind, type Task, write } from '../../src/machine/point.ts';
import { roundRobin } from '../../src/machine/run.ts';
import {
  assertHeld,
  assertHeldRead,
  assertHeldWrite,
  RWLOCK_WORDS,
  RwLock,
  readLock,
  readUnlock,
  rwlockIsContended,
  writeLock,
  writeUnlock,
} from '../../src/machine/rwlock.ts';
import type { Thread } from '../../src/machine/thread.ts';
import { forSeeds, recordingProbe, ruleBrokenBy, TestMachine } from './machine.ts';

function setup(threads = 4): { machine: TestMachine; lock: RwLock; word: Address } {
  const machine = new TestMachine({ threads });
  return { machine, lock: new RwLock(machine.reserve(RWLOCK_WORDS), LockNumber.mmuLock), word: machine.reserve(2) };
}

/** Who is inside, as seen by the code that is. */
interface Inside {
  readers: number;
  writers: number;
  readersMax: number;
}

function* reader(lock: RwLock, thread: Thread, word: Address, rounds: number, inside: Inside): Task<void> {
  for (let i = 0; i < rounds; i++) {
    yield* readLock(lock, thread, 0);
    inside.readersMax = Math.max(inside.readersMax, ++inside.readers);
    const before = thread.memory.load32(yield read(word));
    const after = thread.memory.load32(yield read(word));
    if (inside.writers !== 0 || before !== after) throw new Error('a writer is inside with a reader');
    inside.readers--;
    yield* readUnlock(lock, thread);
  }
}

function* writer(lock: RwLock, thread: Thread, word: Address, rounds: number, inside: Inside): Task<void> {
  for (let i = 0; i < rounds; i++) {
    yield* writeLock(lock, thread, 0);
    if (++inside.writers !== 1 || inside.readers !== 0) throw new Error('a writer is not alone');
    const value = thread.memory.load32(yield read(word));
    thread.memory.store32(yield write(word), value + 1);
    inside.writers--;
    yield* writeUnlock(lock, thread);
  }
}

describe('a reader-writer lock', () => {
  it.each([
    [3, 1],
    [2, 2],
    [1, 3],
    [0, 4],
  ])('excludes and wakes whom it must: %i readers, %i writers, 500 schedules', (readers, writers) => {
    let readersMax = 0;
    forSeeds(500, (seed) => {
      const { machine, lock, word } = setup();
      const inside: Inside = { readers: 0, writers: 0, readersMax: 0 };
      machine.together(
        machine.threads.map((thread, i) => (i < readers ? reader : writer)(lock, thread, word, 3, inside)),
        seed,
      );
      readersMax = Math.max(readersMax, inside.readersMax);
      expect(machine.at(word)).toBe(3 * writers);
      expect([machine.at(lock.base), machine.at(lock.queue), machine.at(lock.writer)]).toEqual([0, 0, 0]);
      expect(machine.threads.every((thread) => thread.holdsNothing() && thread.lockNodesInUse === 0)).toBe(true);
      expect(readers + writers).toBe(machine.threads.length);
    });
    // Readers do share it.
    expect(readersMax).toBe(readers);
  });

  it('costs a reader one counted addition each way, and a writer one exchange each way', () => {
    const { machine, lock } = setup();
    const [thread] = machine.threads;
    expect(machine.stepsOf(readLock(lock, thread, 0))).toEqual([StepKind.Count]);
    expect(machine.stepsOf(readUnlock(lock, thread))).toEqual([StepKind.Count]);
    expect(machine.stepsOf(writeLock(lock, thread, 0))).toEqual([StepKind.Rmw]);
    expect(machine.stepsOf(writeUnlock(lock, thread))).toEqual([StepKind.Rmw]);
  });

  it('lets no reader past a waiting writer, and says that it is contended', () => {
    const { machine, lock } = setup(3);
    const [first, second, last] = machine.threads;
    const order: string[] = [];
    const contended: boolean[] = [];
    function* holder(): Task<void> {
      yield* readLock(lock, first, 0);
      contended.push(yield* rwlockIsContended(lock, first));
      // Long enough for the others to queue, one after the other.
      for (let i = 0; i < 100; i++) first.memory.load32(yield read(lock.base));
      contended.push(yield* rwlockIsContended(lock, first));
      order.push('first reader leaves');
      yield* readUnlock(lock, first);
    }
    function* waitingWriter(): Task<void> {
      for (let i = 0; i < 10; i++) second.memory.load32(yield read(lock.base));
      yield* writeLock(lock, second, 0);
      order.push('writer');
      yield* writeUnlock(lock, second);
    }
    function* lateReader(): Task<void> {
      for (let i = 0; i < 40; i++) last.memory.load32(yield read(lock.base));
      yield* readLock(lock, last, 0);
      order.push('late reader');
      yield* readUnlock(lock, last);
    }
    machine.together([holder(), waitingWriter(), lateReader()], roundRobin());
    expect(order).toEqual(['first reader leaves', 'writer', 'late reader']);
    expect(contended).toEqual([false, true]);
  });

  it('refuses misuse', () => {
    const { machine, lock } = setup();
    const [a, b] = machine.threads;
    machine.run(readLock(lock, a, 0));
    expect(ruleBrokenBy(() => machine.run(readLock(lock, a, 0)))).toBe('self-deadlock');
    expect(ruleBrokenBy(() => machine.run(writeLock(lock, a, 0)))).toBe('self-deadlock');
    expect(ruleBrokenBy(() => machine.run(writeUnlock(lock, a)))).toBe('unlock-not-held');
    expect(ruleBrokenBy(() => machine.run(readUnlock(lock, b)))).toBe('unlock-not-held');
    expect(ruleBrokenBy(() => machine.run(writeLock(lock, b, 0)))).toBe('deadlock');
    expect(ruleBrokenBy(() => assertHeldRead(lock, a))).toBe('none');
    expect(ruleBrokenBy(() => assertHeld(lock, a))).toBe('none');
    expect(ruleBrokenBy(() => assertHeldWrite(lock, a))).toBe('lock-not-held');
    expect(ruleBrokenBy(() => assertHeld(lock, b))).toBe('lock-not-held');
  });

  it('reports to the probe who had to wait', () => {
    const { probe, events } = recordingProbe();
    const machine = new TestMachine({ threads: 2, environment: { probe } });
    const lock = new RwLock(machine.reserve(RWLOCK_WORDS), 2);
    function* hold(thread: Thread, site: number): Task<void> {
      yield* writeLock(lock, thread, site);
      for (let i = 0; i < 20; i++) thread.memory.load32(yield read(lock.base));
      yield* writeUnlock(lock, thread);
    }
    machine.together([hold(machine.threads[0], 5), hold(machine.threads[1], 6)], roundRobin());
    expect(events).toEqual([
      ['attempt', 2, 1, 5],
      ['attempt', 2, 1, 6],
      ['acquired', 2, 1, 5],
      ['contended', 2, 1, 6],
      ['released', 2, 1],
      ['acquired', 2, 1, 6],
      ['released', 2, 1],
    ]);
  });
});
