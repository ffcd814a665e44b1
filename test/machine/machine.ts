/** A machine for tests: an arena, its structures, and any number of threads that run under `runTogether`. */
import { ArenaLayout } from '../../src/machine/arena.ts';
import { COUNTER_SLOTS } from '../../src/machine/counters.ts';
import { InvariantError } from '../../src/machine/invariant.ts';
import { ALLOCATOR_WORDS, PAGE_DESCRIPTOR_WORDS, PageAllocator } from '../../src/machine/page-allocator.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { type Address, own, type StepKind, type Task } from '../../src/machine/point.ts';
import type { Probe } from '../../src/machine/probe.ts';
import { RCU_WORDS, Rcu } from '../../src/machine/rcu.ts';
import { type Pick, runToEnd, runTogether, seededPick, type TogetherOptions } from '../../src/machine/run.ts';
import { SRCU_WORDS, Srcu } from '../../src/machine/srcu.ts';
import { THREAD_WORDS, Thread, type ThreadEnvironment } from '../../src/machine/thread.ts';
import { VCPU_REQUEST_WORDS, VcpuRequests } from '../../src/machine/tlb-shootdown.ts';
import { Word64 } from '../../src/machine/word64.ts';

/** What fresh tables hold: bit 63 alone. */
export const INITIAL = new Word64(0, 1 << 31);

export interface MachineOptions {
  threads: number;
  pages: number;
  entries: number;
  environment: Partial<ThreadEnvironment>;
}

export class TestMachine {
  readonly layout = new ArenaLayout();
  readonly memory = new PlainMemory(new Int32Array(new SharedArrayBuffer(4 * 16_384)));
  readonly threads: Thread[];
  readonly allocator: PageAllocator;
  readonly rcu: Rcu;
  readonly srcu: Srcu;
  readonly requests: VcpuRequests;

  constructor(options: Partial<MachineOptions> = {}) {
    const {
      threads: threadCount,
      pages,
      entries,
      environment,
    } = { threads: 3, pages: 12, entries: 4, environment: {}, ...options };
    const { layout, memory } = this;
    const threads = layout.reserve('threads', threadCount * THREAD_WORDS);
    this.threads = Array.from({ length: threadCount }, (_, id) => {
      const block = (threads + id * THREAD_WORDS) as Address;
      return new Thread(id, `thread ${id}`, block, {
        memory,
        now: () => 0,
        needResched: () => false,
        counters: new Float64Array(COUNTER_SLOTS),
        probe: null,
        ...environment,
      });
    });
    this.allocator = new PageAllocator({
      tables: layout.reserve('tables', pages * entries * 2),
      descriptors: layout.reserve('descriptors', pages * PAGE_DESCRIPTOR_WORDS),
      state: layout.reserve('allocator', ALLOCATOR_WORDS),
      pages,
      entries,
      initial: INITIAL,
    });
    this.rcu = new Rcu({ base: layout.reserve('rcu', RCU_WORDS), threads, threadCount, allocator: this.allocator });
    this.srcu = new Srcu({ base: layout.reserve('srcu', SRCU_WORDS), threads, threadCount });
    this.requests = new VcpuRequests(layout.reserve('requests', threadCount * VCPU_REQUEST_WORDS), threadCount);
  }

  reserve(words: number): Address {
    return this.layout.reserve('test', words);
  }

  /** The word at `a`, as it stands. */
  at(a: Address): number {
    return this.memory.load32(own(a));
  }

  /** Runs one task alone. */
  run<T>(task: Task<T>): T {
    return runToEnd(this.memory, task);
  }

  /** Runs tasks together, by the schedule that `schedule` names: a seed, or a way to pick. */
  together<T>(tasks: readonly Task<T>[], schedule: number | Pick, options?: Partial<TogetherOptions>): T[] {
    const pick = typeof schedule === 'number' ? seededPick(schedule) : schedule;
    return runTogether(this.memory, tasks, pick, { maxSteps: 20_000, ...options });
  }

  /** The kinds of steps of a task that runs alone. */
  stepsOf(task: Task<unknown>): StepKind[] {
    const kinds: StepKind[] = [];
    this.together([task], 0, { onStep: (_task, kind) => kinds.push(kind) });
    return kinds;
  }
}

/** Runs `body` for seeds 0 to `n` - 1. */
export function forSeeds(n: number, body: (seed: number) => void): void {
  for (let seed = 0; seed < n; seed++) {
    try {
      body(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
}

/** The first of the seeds below `n` with which `body` throws, and what it throws; the seeds must not all pass. */
export function firstFailure(n: number, body: (seed: number) => void): { seed: number; error: Error } {
  for (let seed = 0; seed < n; seed++) {
    try {
      body(seed);
    } catch (error) {
      return { seed, error: error as Error };
    }
  }
  throw new Error(`no failure with ${n} seeds`);
}

/** The rule of the invariant that `body` breaks. */
export function ruleBrokenBy(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof InvariantError) return error.rule;
    throw error;
  }
  return 'none';
}

/** A probe that writes down what it hears, as [event, ...arguments]. */
export function recordingProbe(): { probe: Probe; events: unknown[][] } {
  const events: unknown[][] = [];
  const record = (event: string) => {
    return (...args: unknown[]): void => {
      events.push([event, ...args]);
    };
  };
  const probe: Probe = {
    lockAttempt: record('attempt'),
    lockContended: record('contended'),
    lockAcquired: record('acquired'),
    lockReleased: record('released'),
    rcuReadLock: record('rcuReadLock'),
    rcuReadUnlock: record('rcuReadUnlock'),
    rcuGracePeriod: record('rcuGracePeriod'),
    flushRequested: record('flushRequested'),
    flushDone: record('flushDone'),
    pageAllocated: record('pageAllocated'),
    pageFreed: record('pageFreed'),
  };
  return { probe, events };
}
