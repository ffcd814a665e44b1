/** Runs on real threads that end well, badly or not at all: each way is provoked. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runThreads, type ThreadsOptions } from '../../../src/engines/threads/run-threads.ts';
import { stallDetails } from '../../../src/engines/threads/stall.ts';
import type { Task } from '../../../src/machine/point.ts';
import { bundleWorker, HOOKS, planOf } from './plans.ts';

let bundle: Awaited<ReturnType<typeof bundleWorker>>;

beforeAll(async () => {
  bundle = await bundleWorker(path.join(import.meta.dirname, 'test-worker.ts'));
});
afterAll(() => bundle.remove());

const run = (programs: readonly string[], options: Partial<ThreadsOptions> = {}, planOptions = {}) =>
  runThreads(planOf(programs, planOptions), HOOKS, { filename: bundle.file, graceMs: 300, ...options });

/** Workers of this process that are alive: their ports keep it so. */
const workersAlive = (): number => process.getActiveResourcesInfo().filter((name) => name === 'MessagePort').length;

describe('a run that comes to its end', () => {
  it('is complete, and counts every acquisition of every thread', async () => {
    const result = await run(['lock', 'lock', 'lock'], {}, { rounds: 3200 });
    expect(result).toMatchObject({ complete: true, reason: '', exitCode: 0, failures: [], stall: null });
    expect(result.threads.map(({ state, holds }) => [state, holds])).toEqual(Array(3).fill(['done', []]));
    const { locks, phases, counters } = result.measurement;
    const acquisitions = (mode: string) =>
      locks.filter((lock) => lock.lock === 'mmu_lock' && lock.mode === mode).map((lock) => [lock.site, lock.acquisitions]);
    expect(acquisitions('read')).toEqual([['kvm_tdp_page_fault', 9000]]);
    expect(acquisitions('write')).toEqual([['kvm_zap_gfn_range', 600]]);
    expect(counters.workDone).toBe(9600);
    expect(phases).toEqual([{ name: 'locking', ns: expect.any(Array), totalNs: 3003 }]);
    expect(phases[0].ns.toSorted()).toEqual([1000, 1001, 1002]);
    for (const lock of locks) {
      expect(lock.wait.count).toBe(lock.contended);
      expect(lock.hold.timed).toBeGreaterThanOrEqual(Math.min(64, lock.acquisitions));
      // What samples stand for must come near what there was.
      expect(lock.hold.count / lock.acquisitions).toBeGreaterThan(0.5);
      expect(lock.hold.count / lock.acquisitions).toBeLessThan(2);
    }
    await expect.poll(workersAlive, { timeout: 5000 }).toBe(0);
  });

  it('ends by the clock, and daemons end with the others', async () => {
    const timed = await run(['work', 'work'], { durationMs: 200 });
    expect(timed).toMatchObject({ complete: true, exitCode: 0 });
    expect(timed.elapsedNs).toBeGreaterThan(200e6);
    expect(timed.elapsedNs).toBeLessThan(2000e6);
    const served = await run(['lock', 'daemon:work'], {}, { rounds: 10 });
    expect(served).toMatchObject({ complete: true, exitCode: 0 });
    expect(served.threads.map(({ state }) => state)).toEqual(['done', 'done']);
  });

  it('lets threads that still get on take their time to stop', async () => {
    const result = await run(['linger', 'linger'], { durationMs: 100 }, { ns: 1200e6 });
    expect(result).toMatchObject({ complete: true, exitCode: 0, stall: null });
    expect(result.elapsedNs).toBeGreaterThan(1300e6);
  });

  it('does not take the time of a hook for which all wait for a standstill', async () => {
    let calls = 0;
    function* tick(): Task<void> {
      if (++calls === 2) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 850);
    }
    const options = { filename: bundle.file, watchdogMs: 800 };
    const result = await runThreads(planOf(['nap'], { ns: 900e6 }), { ...HOOKS, tick }, options);
    expect(result).toMatchObject({ complete: true, exitCode: 0 });
    expect(calls).toBeGreaterThan(1);
  });

  it('gives every thread a seed of its own, the same in every run', async () => {
    const seeds = async () =>
      (await run(['seed', 'seed', 'seed'])).measurement.phases.map(({ name, totalNs }) => [name, totalNs]);
    const first = (await seeds()).toSorted();
    expect(new Set(first.map(([, seed]) => seed)).size).toBe(3);
    expect((await seeds()).toSorted()).toEqual(first);
  });

  it('wants the processor back once a time slice', async () => {
    const { measurement } = await run(['slice'], {}, { ns: 400e6 });
    const slices = measurement.phases[0].totalNs;
    // 100 of 4 ms, less what the machine was busy with other things.
    expect(slices).toBeGreaterThan(20);
    expect(slices).toBeLessThanOrEqual(100);
  });

  it('counts without measuring', async () => {
    const { measurement, complete } = await run(['lock'], { measure: false }, { rounds: 100 });
    expect(complete).toBe(true);
    expect(measurement).toMatchObject({ measured: false, locks: [] });
    expect(measurement.counters.workDone).toBe(100);
  });
});

describe('a run that goes wrong', () => {
  it('ends when a thread breaks an invariant, with what it held and what was measured', async () => {
    const result = await run(['break', 'work', 'work']);
    expect(result).toMatchObject({ complete: false, exitCode: 127 });
    expect(result.reason).toBe('vcpu 0, holding mmu_lock for write: test-rule: broken on purpose');
    expect(result.failures).toHaveLength(1);
    expect(result.failures[0]).toMatchObject({ thread: 'vcpu 0', rule: 'test-rule', held: ['mmu_lock for write'] });
    expect(result.failures[0].stack).toContain('test-worker');
    expect(result.measurement.phases).toEqual([{ name: 'before the break', ns: [7], totalNs: 7 }]);
    expect(result.elapsedNs).toBeLessThan(3e9);
    expect(result.threads[0]).toMatchObject({ state: 'failed', holds: ['mmu_lock for write'] });
  });

  it('tells an exception from a broken invariant', async () => {
    const result = await run(['throw', 'work']);
    expect(result).toMatchObject({ complete: false, exitCode: 127 });
    expect(result.reason).toBe('vcpu 0: exception: thrown on purpose');
  });

  it('ends when a worker exits, and says what the dead one held', async () => {
    const result = await run(['exit', 'work']);
    expect(result).toMatchObject({ complete: false, exitCode: 127 });
    expect(result.failures).toEqual([expect.objectContaining({ thread: 'vcpu 0', rule: 'exit', held: ['mmu_lock for read'] })]);
    expect(result.threads.map(({ state }) => state)).toEqual(['lost', 'done']);
    expect(result.measurement.phases).toEqual([{ name: 'before the exit', ns: [8], totalNs: 8 }]);
    expect(result.measurement.counters.workDone).toBeGreaterThan(0);
  });

  it('ends when a thread spins for ever with mmu_lock, and says who waits for it', async () => {
    const began = performance.now();
    const result = await run(['hog', 'work', 'work'], { watchdogMs: 500 });
    expect(performance.now() - began).toBeLessThan(8000);
    expect(result).toMatchObject({ complete: false, exitCode: 128 });
    expect(result.stall?.summary).toContain('vcpu 0 holds mmu_lock for write');
    expect(result.stall?.summary).toContain('vcpu 1, vcpu 2 wait for mmu_lock for read in kvm_tdp_page_fault');
    expect(result.reason).toMatch(/^no progress for 0\.5 s: vcpu 0 holds mmu_lock for write/);
    expect(result.threads.map(({ state }) => state)).toEqual(['terminated', 'terminated', 'terminated']);
  });

  it('names many waiters by their number, and each in the details', async () => {
    const { stall } = await run(['hog', 'work', 'work', 'work', 'work'], { watchdogMs: 500 });
    expect(stall?.summary).toBe('vcpu 0 holds mmu_lock for write; 4 vCPUs wait for mmu_lock for read in kvm_tdp_page_fault');
    expect(stallDetails(stall!)).toHaveLength(5);
    expect(stallDetails(stall!)[4]).toMatch(/^vcpu 4.* waits for mmu_lock for read in kvm_tdp_page_fault$/);
  });

  it.each(['livelock', 'sleep'])('ends when nobody gets on: %s', async (program) => {
    const result = await run([program, program], { watchdogMs: 500 });
    expect(result).toMatchObject({ complete: false, exitCode: 128 });
    expect(result.reason).toContain('no lock is held or waited for; still running: vcpu 0, vcpu 1');
  });

  it('counts a thread that does not stop when it is told to as stalled', async () => {
    const result = await run(['work', 'daemon:sleep'], { durationMs: 100 });
    expect(result).toMatchObject({ complete: false, exitCode: 128 });
    expect(result.threads.map(({ state }) => state)).toEqual(['done', 'terminated']);
  });

  it('ends when it is interrupted, with what was measured so far', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 600);
    const result = await run(['work', 'hog'], { signal: controller.signal, watchdogMs: 0 });
    expect(result).toMatchObject({ complete: false, reason: 'interrupted', exitCode: 130 });
    expect(result.measurement.locks.length).toBeGreaterThan(0);
    expect(result.elapsedNs).toBeLessThan(3e9);
  });

  it('does not even begin where it was interrupted before', async () => {
    const result = await run(['work'], { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ complete: false, exitCode: 130, elapsedNs: 0 });
  });

  it('leaves no worker behind', async () => {
    let during = 0;
    const onProgress = () => (during = workersAlive());
    await run(['exit', 'hog', 'sleep', 'break'], { watchdogMs: 500 });
    // A port is gone a turn or two of the event loop after its worker.
    await expect.poll(workersAlive, { timeout: 5000 }).toBe(0);
    await run(['hog', 'sleep'], { durationMs: 1200, onProgress });
    expect(during).toBeGreaterThan(0);
    await expect.poll(workersAlive, { timeout: 5000 }).toBe(0);
  });

  it('ends when the workers do not load', async () => {
    const result = await run(['work'], { filename: '/nonexistent/worker.mjs', startupMs: 5000 });
    expect(result).toMatchObject({ complete: false, exitCode: 127 });
  });
});

describe('a plan that cannot be run', () => {
  it('is refused with a reason', () => {
    expect(() => run(Array(1000).fill('work'))).toThrow('1000 threads: real threads can be 1 to 272');
    expect(() => run([])).toThrow('0 threads');
  });
});
