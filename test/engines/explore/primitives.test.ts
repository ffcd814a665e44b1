/**
 * The primitives that scenarios take as single steps (`src/machine/whole-steps.ts`), access by access: what the single steps
 * promise is what every interleaving of the real code keeps. And the single steps keep it too.
 */
import { describe, expect, test } from 'vitest';
import { wholeSteps } from '../../../src/engines/explore/access.ts';
import { explore, InvariantError, type Memory, type MemoryModel, type Program, type Task } from '../../../src/explore.ts';
import { COUNTER_SLOTS } from '../../../src/machine/counters.ts';
import { LockNumber } from '../../../src/machine/lock-number.ts';
import { Mutex, mutexLock, mutexUnlock } from '../../../src/machine/mutex.ts';
import { ALLOCATOR_WORDS, PageAllocator } from '../../../src/machine/page-allocator.ts';
import { type Address, read, write } from '../../../src/machine/point.ts';
import { Rcu, rcuReadLock, rcuReadUnlock, synchronizeRcu } from '../../../src/machine/rcu.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../../src/machine/rwlock.ts';
import { SpinLock, spinLock, spinUnlock } from '../../../src/machine/spinlock.ts';
import { Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../src/machine/srcu.ts';
import { THREAD_WORDS, Thread } from '../../../src/machine/thread.ts';
import {
  enterGuest,
  leaveGuest,
  makeAllVcpusRequest,
  Request,
  takeRequests,
  VcpuRequests,
} from '../../../src/machine/tlb-shootdown.ts';
import { Word64 } from '../../../src/machine/word64.ts';

const BLOCKS = 16 as Address;
const threadsOf = 3;
const LOCK = (BLOCKS + threadsOf * THREAD_WORDS) as Address;
const DATA = (LOCK + 64) as Address;
const WORDS = DATA + 16;

type Body = (memory: Memory, thread: Thread, ghost: Ghost) => Task<void>;

/** Who is inside, beside the arena: looked at between two steps, so that nothing is announced. */
class Ghost {
  readers = 0;
  writers = 0;
  enter(write: boolean): void {
    if (write) this.writers++;
    else this.readers++;
    if (this.writers > 1 || (this.writers > 0 && this.readers > 0)) throw new InvariantError('not-exclusive', 'two are inside');
  }
  leave(write: boolean): void {
    if (write) this.writers--;
    else this.readers--;
  }
}

function programOf(name: string, whole: boolean, bodies: readonly Body[], check?: (words: Int32Array) => string | null): Program {
  const ghost = new Ghost();
  const thread = (memory: Memory, id: number): Thread =>
    new Thread(id, `t${id}`, (BLOCKS + id * THREAD_WORDS) as Address, {
      memory,
      now: () => 0,
      needResched: () => false,
      counters: new Float64Array(COUNTER_SLOTS),
      probe: null,
      ...(whole ? { whole: wholeSteps } : {}),
    });
  return {
    name,
    words: WORDS,
    threads: bodies.map((body, id) => ({ name: `t${id}`, run: (memory) => body(memory, thread(memory, id), ghost) })),
    reset: () => {
      ghost.readers = 0;
      ghost.writers = 0;
    },
    check,
  };
}

/** A critical section of a write that readers, and other writers, must not come between. */
function* inside(memory: Memory, ghost: Ghost, exclusive: boolean): Task<void> {
  ghost.enter(exclusive);
  const seen = memory.load32(yield read(DATA));
  if (exclusive) memory.store32(yield write(DATA), seen + 1);
  ghost.leave(exclusive);
}

const rwlock = new RwLock(LOCK, LockNumber.mmuLock);
const spin = new SpinLock(LOCK, LockNumber.pagesLock);
const mutex = new Mutex(LOCK, LockNumber.slotsLock);
const srcu = new Srcu({ base: LOCK, threads: BLOCKS, threadCount: threadsOf });
const allocator = new PageAllocator({
  tables: LOCK,
  descriptors: LOCK,
  state: (LOCK + 64 - ALLOCATOR_WORDS) as Address,
  pages: 1,
  entries: 1,
  initial: new Word64(0, 0),
});
const rcu = new Rcu({ base: LOCK, threads: BLOCKS, threadCount: threadsOf, allocator });
const requests = new VcpuRequests(LOCK, 1);

const reader: Body = function* (memory, thread, ghost) {
  yield* readLock(rwlock, thread, 0);
  yield* inside(memory, ghost, false);
  yield* readUnlock(rwlock, thread);
};
const writer: Body = function* (memory, thread, ghost) {
  yield* writeLock(rwlock, thread, 0);
  yield* inside(memory, ghost, true);
  yield* writeUnlock(rwlock, thread);
};
const spinner: Body = function* (memory, thread, ghost) {
  yield* spinLock(spin, thread, 0);
  yield* inside(memory, ghost, true);
  yield* spinUnlock(spin, thread);
};
const sleeper: Body = function* (memory, thread, ghost) {
  yield* mutexLock(mutex, thread, 0);
  yield* inside(memory, ghost, true);
  yield* mutexUnlock(mutex, thread);
};

/** Unlinks what readers find in DATA, waits for a grace period, and takes it apart: no reader may still look. */
const poisoned = (DATA + 2) as Address;
function reclaimer(grace: (thread: Thread) => Task<void>): Body {
  return function* (memory, thread) {
    memory.store32(yield write(DATA), 1);
    yield* grace(thread);
    memory.store32(yield write(poisoned), 1);
  };
}
function* look(memory: Memory): Task<void> {
  if (memory.load32(yield read(DATA)) !== 0) return;
  if (memory.load32(yield read(poisoned)) !== 0)
    throw new InvariantError('use-after-free', 'a reader found what was taken apart');
}
const rcuReader: Body = function* (memory, thread) {
  yield* rcuReadLock(rcu, thread);
  yield* look(memory);
  yield* rcuReadUnlock(rcu, thread);
};
const srcuReader: Body = function* (memory, thread) {
  const index = yield* srcuReadLock(srcu, thread);
  yield* look(memory);
  yield* srcuReadUnlock(srcu, thread, index);
};

/** A guest that uses what DATA says until it is told to flush, against one who changes it and asks for the flush. */
const guest: Body = function* (memory, thread, ghost) {
  for (let run = 0; run < 2; run++) {
    do yield* takeRequests(requests, thread, 0);
    while (!(yield* enterGuest(requests, thread, 0)));
    yield* look(memory);
    yield* leaveGuest(requests, thread, 0);
  }
  ghost.readers = 0;
};
const flusher = reclaimer(function* (thread) {
  yield* makeAllVcpusRequest(requests, thread, Request.tlbFlush, { wait: true });
});

const sum = (n: number) => (words: Int32Array) => (words[DATA] === n ? null : `${words[DATA]} sections were counted, not ${n}`);

interface Case {
  readonly name: string;
  readonly bodies: readonly Body[];
  readonly check?: (words: Int32Array) => string | null;
}

const CASES: readonly Case[] = [
  { name: 'rwlock: a writer and two readers', bodies: [writer, reader, reader], check: sum(1) },
  { name: 'rwlock: two writers and a reader', bodies: [writer, writer, reader], check: sum(2) },
  { name: 'spinlock: three', bodies: [spinner, spinner, spinner], check: sum(3) },
  { name: 'mutex: three', bodies: [sleeper, sleeper, sleeper], check: sum(3) },
  { name: 'RCU: two readers and a grace period', bodies: [rcuReader, rcuReader, reclaimer((t) => synchronizeRcu(rcu, t))] },
  { name: 'SRCU: two readers and a grace period', bodies: [srcuReader, srcuReader, reclaimer((t) => synchronizeSrcu(srcu, t))] },
  { name: 'requests: a guest and a flush', bodies: [guest, flusher] },
];

describe.each(['sc', 'tso'] as const)('under %s', (memory: MemoryModel) => {
  test.each(CASES)('$name', async ({ name, bodies, check }) => {
    const stepwise = await explore(programOf(name, false, bodies, check), { memory });
    expect(stepwise).toMatchObject({ findings: [], deadlocks: 0, complete: true });
    const whole = await explore(programOf(name, true, bodies, check), { memory });
    expect(whole).toMatchObject({ findings: [], deadlocks: 0, complete: true, blocked: 0 });
    expect(whole.executions).toBeLessThanOrEqual(stepwise.executions);
  });
});

test('a section that does without its lock is found', async () => {
  const careless: Body = (memory, _thread, ghost) => inside(memory, ghost, true);
  for (const whole of [false, true]) {
    const report = await explore(programOf('careless', whole, [writer, careless]), {});
    expect(report.findings[0].rule).toBe('not-exclusive');
  }
});

test('a grace period that does not wait is found', async () => {
  const none = reclaimer(function* () {});
  for (const body of [rcuReader, srcuReader]) {
    const report = await explore(programOf('none', true, [body, none]), {});
    expect(report.findings[0].rule).toBe('use-after-free');
  }
});
