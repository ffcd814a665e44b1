/** The locks of the machine itself, on modelled servers: what the kernel's locks are known for must come out. */
import { expect, test } from 'vitest';
import { VirtualEngine } from '../../../src/engines/virtual/engine.ts';
import type { MachineProfile } from '../../../src/engines/virtual/profile.ts';
import { ultramem416 } from '../../../src/engines/virtual/profiles/index.ts';
import { Cost } from '../../../src/machine/cost.ts';
import { LockNumber } from '../../../src/machine/lock-number.ts';
import { Mutex, mutexLock, mutexUnlock } from '../../../src/machine/mutex.ts';
import { type Address, own, spend, type Task } from '../../../src/machine/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../../src/machine/rwlock.ts';
import { SpinLock, spinLock, spinUnlock } from '../../../src/machine/spinlock.ts';
import { THREAD_WORDS, Thread } from '../../../src/machine/thread.ts';
import { line, REMOTE_CPU, roundMachine, total } from './round-machine.ts';

const LOCK = line(4);
const DATA = line(6);
const BLOCKS = line(100);

const { atomicNs } = roundMachine.access;
const { socketNs, remoteNs, memoryNs } = roundMachine.transfer;

/** Runs `body` on `n` CPUs; each has a thread of the machine. */
function runThreads(
  profile: MachineProfile,
  n: number,
  body: (thread: Thread) => Task<void>,
  sleeps = false,
  cpus = (i: number) => i,
): VirtualEngine {
  const labels = sleeps ? [{ name: 'slots_lock', base: LOCK, words: 16, sleeps }] : [];
  const engine = new VirtualEngine({ words: BLOCKS + n * THREAD_WORDS, profile, seed: 1, labels });
  for (let i = 0; i < n; i++) {
    engine.addTask({
      name: `vcpu${i}`,
      cpu: cpus(i),
      body: (environment) => body(new Thread(i, `vcpu${i}`, (BLOCKS + i * THREAD_WORDS) as Address, environment)),
    });
  }
  expect(engine.run()).toEqual({ status: 'done' });
  for (const { byCauseNs, startNs, endNs } of engine.reports()) expect(total(byCauseNs)).toBeCloseTo(endNs - startNs, 4);
  expect(engine.lostWakes).toBe(0);
  return engine;
}

/** Adds 1 to the data under the lock; the word belongs to the holder. */
function* bump(thread: Thread): Task<void> {
  const old = thread.memory.load32(own(DATA));
  yield spend(Cost.spteChange);
  thread.memory.store32(own(DATA), old + 1);
}

test('readers alone never wait, yet the lock word saturates at the transfer rate of its line', () => {
  const turns = 50;
  const lock = new RwLock(LOCK, LockNumber.mmuLock);
  const run = (n: number): VirtualEngine =>
    runThreads(roundMachine, n, function* (thread) {
      for (let i = 0; i < turns; i++) {
        yield* readLock(lock, thread, 0);
        yield* readUnlock(lock, thread);
      }
    });
  // One reader: two atomic operations on a line that it keeps.
  expect(run(1).timeNs).toBe(memoryNs + turns * 2 * atomicNs);
  // Many: two transfers for each turn of each, one after the other, whatever the number.
  for (const n of [4, 12, 24]) {
    const engine = run(n);
    const perTurn = engine.timeNs / (n * turns);
    expect(perTurn).toBeGreaterThan(0.97 * 2 * (socketNs + atomicNs));
    expect(perTurn).toBeLessThan(1.05 * 2 * (socketNs + atomicNs));
    expect(engine.totals()['waiting:mmu_lock']).toBeUndefined();
  }
});

test.each([8, 48])('%i writers and readers exclude each other, and the waiting is put down to mmu_lock', (n) => {
  const lock = new RwLock(LOCK, LockNumber.mmuLock);
  const engine = runThreads(roundMachine, n, function* (thread) {
    for (let i = 0; i < 30; i++) {
      if ((thread.id + i) % 4 === 0) {
        yield* writeLock(lock, thread, 0);
        yield* bump(thread);
        yield* writeUnlock(lock, thread);
      } else {
        yield* readLock(lock, thread, 0);
        const seen = thread.memory.load32(own(DATA));
        yield spend(Cost.spteChange);
        expect(thread.memory.load32(own(DATA))).toBe(seen);
        yield* readUnlock(lock, thread);
      }
    }
  });
  let writes = 0;
  for (let id = 0; id < n; id++) for (let i = 0; i < 30; i++) if ((id + i) % 4 === 0) writes++;
  expect(engine.memory.words[DATA]).toBe(writes);
  const totals = engine.totals();
  expect(totals['waiting:mmu_lock'] / total(totals)).toBeGreaterThan(0.5);
  expect(totals['waiting:other']).toBeUndefined();
});

test('under a spinlock 416 vCPUs that fault do little but wait for it', () => {
  const lock = new SpinLock(LOCK, LockNumber.mmuLock);
  const share = (n: number): number => {
    const engine = runThreads(ultramem416, n, function* (thread) {
      for (let i = 0; i < 20; i++) {
        yield spend(Cost.vmExit);
        yield spend(Cost.gup);
        yield* spinLock(lock, thread, 0);
        yield spend(Cost.iterStep, 4);
        yield* bump(thread);
        yield* spinUnlock(lock, thread);
        yield spend(Cost.vmEnter);
      }
    });
    expect(engine.memory.words[DATA]).toBe(20 * n);
    const totals = engine.totals();
    return (totals['waiting:mmu_lock'] ?? 0) / total(totals);
  };
  expect(share(1)).toBe(0);
  expect(share(416)).toBeGreaterThan(0.95);
});

test.each([1, 2])('a mutex puts its waiters to sleep, %i tasks a CPU', (tasksPerCpu) => {
  const lock = new Mutex(LOCK, LockNumber.slotsLock);
  const n = 12;
  const engine = runThreads(
    roundMachine,
    n,
    function* (thread) {
      for (let i = 0; i < 20; i++) {
        yield* mutexLock(lock, thread, 0);
        yield spend(Cost.faultPath, 5);
        yield* bump(thread);
        yield* mutexUnlock(lock, thread);
        yield spend(Cost.userPage, 100);
      }
    },
    true,
    (i) => Math.floor(i / tasksPerCpu),
  );
  expect(engine.memory.words[DATA]).toBe(20 * n);
  const totals = engine.totals();
  expect(totals['waiting:slots_lock']).toBeGreaterThan(0);
  expect(totals.wake).toBeGreaterThan(0);
});

test('a deadlock report names the lock whose queue a task is in, not the word of its node', () => {
  const lock = new SpinLock(LOCK, LockNumber.mmuLock);
  const engine = new VirtualEngine({ words: BLOCKS + 2 * THREAD_WORDS, profile: roundMachine, seed: 1 });
  for (let i = 0; i < 2; i++) {
    engine.addTask({
      name: `vcpu${i}`,
      cpu: i,
      *body(environment) {
        const thread = new Thread(i, `vcpu${i}`, (BLOCKS + i * THREAD_WORDS) as Address, environment);
        if (i === 1) yield spend(Cost.faultPath);
        yield* spinLock(lock, thread, 0); // and nobody releases it
      },
    });
  }
  const end = engine.run();
  expect(end).toMatchObject({ status: 'deadlock', blocked: [{ name: 'vcpu1', state: 'spinning', label: 'mmu_lock' }] });
});

test.each([
  ['its own', 0, 0],
  ['another core of the socket', 1, socketNs],
  ['another socket', REMOTE_CPU, remoteNs],
])('a free lock whose line is in the cache of %s costs what the way of the line costs', (_, cpu, transferNs) => {
  const price = (take: (thread: Thread) => Task<void>, release: (thread: Thread) => Task<void>): number => {
    let took = 0;
    const engine = runThreads(
      roundMachine,
      2,
      function* (thread) {
        if (thread.id === 0) {
          yield* take(thread);
          yield* release(thread);
          return;
        }
        yield spend(Cost.spteChange, 1000);
        const began = thread.now();
        yield* take(thread);
        took = thread.now() - began;
        yield* release(thread);
      },
      false,
      (i) => (i === 0 ? cpu : 0),
      // Both on CPU 0 where the line is its own: the second begins when the first has ended.
    );
    expect(engine.lostWakes).toBe(0);
    return took;
  };
  const rwlock = new RwLock(LOCK, LockNumber.mmuLock);
  const spinlock = new SpinLock(line(8), LockNumber.pagesLock);
  expect(
    price(
      (thread) => readLock(rwlock, thread, 0),
      (thread) => readUnlock(rwlock, thread),
    ),
  ).toBe(transferNs + atomicNs);
  expect(
    price(
      (thread) => spinLock(spinlock, thread, 0),
      (thread) => spinUnlock(spinlock, thread),
    ),
  ).toBe(transferNs + atomicNs);
});
