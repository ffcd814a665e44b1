/**
 * A thread of the machine's stress test. It is bundled with the machine's coroutines erased, so tasks are plain calls here:
 * each returns its result at once.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import { markLive, PageAllocator, type PageAllocatorOptions } from '../../src/machine/page-allocator.ts';
import { allocPage } from '../../src/machine/page-cache.ts';
import { bindArena, bindPerturbation } from '../../src/machine/point.direct.ts';
import { type Address, own, type Task } from '../../src/machine/point.ts';
import { callRcu, Rcu, type RcuOptions, rcuProcessCallbacks, rcuReadLock, rcuReadUnlock } from '../../src/machine/rcu.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../src/machine/rwlock.ts';
import { SharedMemory } from '../../src/machine/shared-memory.ts';
import { SpinLock, spinLock, spinUnlock } from '../../src/machine/spinlock.ts';
import { THREAD_WORDS, Thread } from '../../src/machine/thread.ts';
import {
  enterGuest,
  guestInterrupted,
  leaveGuest,
  makeAllVcpusRequest,
  takeRequests,
  VcpuRequests,
} from '../../src/machine/tlb-shootdown.ts';
import { WasmMemory } from '../../src/machine/wasm-memory.ts';

/** Where things are, and what this thread does. */
export interface StressOptions {
  arena: WebAssembly.Memory;
  wasm: boolean;
  id: number;
  threads: Address;
  threadCount: number;
  spinLock: Address;
  rwLock: Address;
  requests: Address;
  /** Words: a sum under the spinlock, one under the rwlock, a published page, a translation, the oldest valid one, who is ready. */
  words: Address;
  rounds: number;
  allocator: PageAllocatorOptions;
  rcu: Omit<RcuOptions, 'allocator'>;
}

/** The result of an erased task. */
const done = <T>(task: Task<T>): T => task as unknown as T;

function stress(options: StressOptions): string[] {
  const { id, words, rounds, threadCount } = options;
  const arena = new Int32Array(options.arena.buffer as unknown as SharedArrayBuffer);
  bindArena(arena);
  // Has an effect in the perturbed bundle only, which puts its points in place of the direct ones.
  bindPerturbation(id, 0.002);
  const memory = options.wasm ? new WasmMemory(options.arena) : new SharedMemory(arena);
  const block = (options.threads + id * THREAD_WORDS) as Address;
  const thread = new Thread(id, `thread ${id}`, block, {
    memory,
    now: () => 0,
    needResched: () => false,
    counters: new Float64Array(COUNTER_SLOTS),
    probe: null,
  });
  const spin = new SpinLock(options.spinLock, 3);
  const rw = new RwLock(options.rwLock, 2);
  const allocator = new PageAllocator(options.allocator);
  const rcu = new Rcu({ ...options.rcu, allocator });
  const requests = new VcpuRequests(options.requests, threadCount);
  const at = (word: number) => own((words + word) as Address);
  const failures: string[] = [];
  let cached = 0;

  // All begin at once: a thread takes longer to start than to run.
  Atomics.add(arena, words + 79, 1);
  Atomics.notify(arena, words + 79);
  for (let ready = 0; (ready = Atomics.load(arena, words + 79)) < threadCount; ) Atomics.wait(arena, words + 79, ready);

  for (let round = 0; round < rounds; round++) {
    done(spinLock(spin, thread, 0));
    memory.store32(at(0), memory.load32(at(0)) + 1);
    done(spinUnlock(spin, thread));

    if (round % 4 === id % 4) {
      done(writeLock(rw, thread, 0));
      memory.store32(at(16), memory.load32(at(16)) + 1);
      memory.store32(at(17), memory.load32(at(17)) + 1);
      done(writeUnlock(rw, thread));
    } else {
      done(readLock(rw, thread, 0));
      if (memory.load32(at(16)) !== memory.load32(at(17))) failures.push('a reader met a writer');
      done(readUnlock(rw, thread));
    }

    if (round % 8 === id) {
      const page = done(allocPage(allocator, thread));
      if (page !== 0) {
        markLive(allocator, thread, page);
        const old = memory.xchg32(at(32), page);
        if (old !== 0) done(callRcu(rcu, thread, old));
        done(rcuProcessCallbacks(rcu, allocator, thread));
      }
    }
    done(rcuReadLock(rcu, thread));
    const page = memory.load32(at(32));
    if (page !== 0) {
      for (let entry = 0; entry < allocator.entries; entry++) {
        const { hi } = memory.load64(own((allocator.tableOf(page) + 2 * entry) as Address));
        if (hi !== allocator.initial.hi) failures.push(`page ${page} was freed under its reader`);
      }
    }
    done(rcuReadUnlock(rcu, thread));

    if (round % 8 === 7 - id) {
      const old = memory.add32(at(48), 1);
      done(makeAllVcpusRequest(requests, thread, 0, { wait: true }));
      // The oldest translation that may still be used: it only grows.
      for (let seen = memory.load32(at(64)); seen < old + 1; ) {
        const now = memory.cmpxchg32(at(64), seen, old + 1);
        if (now === seen) break;
        seen = now;
      }
    }
    if (done(takeRequests(requests, thread, id)) !== 0) cached = -1;
    if (done(enterGuest(requests, thread, id))) {
      for (let access = 0; access < 4 && !done(guestInterrupted(requests, thread, id)); access++) {
        // What was invalid before the access began was flushed before it.
        const valid = memory.load32(at(64));
        if (cached === -1) cached = memory.load32(at(48));
        if (cached < valid && !done(guestInterrupted(requests, thread, id)))
          failures.push(`access through ${cached}, valid ${valid}`);
      }
      done(leaveGuest(requests, thread, id));
    }
  }
  if (!thread.holdsNothing()) failures.push('something is still held');
  return failures;
}

let outcome: string[];
try {
  outcome = stress(workerData as StressOptions);
} catch (error) {
  outcome = [String((error as Error).stack)];
}
parentPort?.postMessage(outcome);
