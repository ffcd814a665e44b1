import { describe, expect, it } from 'vitest';
import { Counter } from '../../src/machine/counters.ts';
import { type Address, own, read, rmw, type Task, write } from '../../src/machine/point.ts';
import type { Thread } from '../../src/machine/thread.ts';
import {
  beginLocklessWalk,
  endLocklessWalk,
  enterGuest,
  guestInterrupted,
  leaveGuest,
  makeAllVcpusRequest,
  makeRequest,
  Request,
  takeRequests,
  VcpuMode,
  type VcpuRequests,
} from '../../src/machine/tlb-shootdown.ts';
import { firstFailure, forSeeds, recordingProbe, TestMachine } from './machine.ts';

type Enter = (req: VcpuRequests, thread: Thread, vcpu: number) => Task<boolean>;

/** Tests the requests before the mode says that the vCPU is in the guest: the wrong order. */
function* enterHastily(req: VcpuRequests, thread: Thread, vcpu: number): Task<boolean> {
  if (thread.memory.load32(yield read(req.requests(vcpu))) !== 0) return false;
  thread.memory.xchg32(yield rmw(req.mode(vcpu)), VcpuMode.inGuest);
  return true;
}

/**
 * Two vCPUs that access through a translation cached when they first entered, and zappers that clear it, flush, and then
 * take the page away.
 */
function shootdown(seed: number, enter: Enter): TestMachine {
  const machine = new TestMachine({ threads: 4 });
  const req = machine.requests;
  const pte = machine.reserve(2);
  machine.memory.store32(own(pte), 1);
  /** Translations below this may not be used any more. */
  let oldestValid = 1;
  function* vcpu(thread: Thread): Task<void> {
    let cached = 0;
    for (let round = 0; round < 4; round++) {
      const requests = yield* takeRequests(req, thread, thread.id);
      if (requests & (1 << Request.tlbFlush)) cached = 0;
      if (!(yield* enter(req, thread, thread.id))) continue;
      for (let access = 0; access < 3; access++) {
        if (yield* guestInterrupted(req, thread, thread.id)) break;
        if (cached === 0) cached = thread.memory.load32(yield read(pte));
        else thread.memory.load32(yield read(pte));
        if (cached < oldestValid) throw new Error('an access through a translation that was flushed');
      }
      yield* leaveGuest(req, thread, thread.id);
    }
  }
  function* zapper(thread: Thread): Task<void> {
    for (let i = 0; i < 2; i++) {
      const old = thread.memory.add32(yield rmw(pte), 1);
      yield* makeAllVcpusRequest(req, thread, Request.tlbFlush, { wait: true });
      oldestValid = Math.max(oldestValid, old + 1);
    }
  }
  // Threads 2 and 3 are vCPUs as well, which never enter the guest.
  const [a, b, c, d] = machine.threads;
  machine.together([vcpu(a), vcpu(b), zapper(c), zapper(d)], seed);
  return machine;
}

describe('TLB shootdown', () => {
  it('lets no guest access use what was flushed, and loses no wake, under 1000 schedules', () => {
    let kicked = 0;
    let backedOut = 0;
    forSeeds(1000, (seed) => {
      const machine = shootdown(seed, enterGuest);
      for (const { counters } of machine.threads) {
        kicked += counters[Counter.kicks];
        backedOut += counters[Counter.entriesBackedOut];
      }
    });
    expect(kicked).toBeGreaterThan(100);
    expect(backedOut).toBeGreaterThan(100);
  });

  it('depends on the order of mode and requests at entry', () => {
    expect(firstFailure(1000, (seed) => shootdown(seed, enterHastily)).error.message).toMatch(/that was flushed/);
  });

  it('kicks those in the guest only, and counts them', () => {
    const { probe, events } = recordingProbe();
    const machine = new TestMachine({ threads: 3, environment: { probe } });
    const req = machine.requests;
    const [a, b, c] = machine.threads;
    expect(machine.run(makeAllVcpusRequest(req, c, Request.tlbFlush, { wait: true }))).toBe(0);
    expect(machine.run(enterGuest(req, a, 0))).toBe(false);
    expect(machine.run(takeRequests(req, a, 0))).toBe(1 << Request.tlbFlush);
    expect(machine.run(takeRequests(req, a, 0))).toBe(0);
    expect(machine.run(enterGuest(req, a, 0))).toBe(true);
    expect(machine.run(guestInterrupted(req, a, 0))).toBe(false);
    expect(machine.run(makeAllVcpusRequest(req, c, Request.freeObsoleteRoots, { wait: false }))).toBe(1);
    expect(machine.run(guestInterrupted(req, a, 0))).toBe(true);
    expect(machine.run(makeAllVcpusRequest(req, c, Request.freeObsoleteRoots, { wait: false }))).toBe(0);
    const [flushed] = machine.together<unknown>(
      [makeAllVcpusRequest(req, b, Request.tlbFlush, { wait: true }), leaveGuest(req, a, 0)],
      // The first runs until it sleeps.
      () => 0,
    );
    expect(flushed).toBe(1);
    expect(b.counters[Counter.flushRequests]).toBe(1);
    expect(b.counters[Counter.flushesKicked]).toBe(1);
    expect(b.counters[Counter.flushAcks]).toBe(1);
    expect(b.counters[Counter.kicks]).toBe(0);
    expect(c.counters[Counter.flushesKicked]).toBe(0);
    expect(events).toEqual([
      ['flushRequested', 0],
      ['flushDone', 0],
      ['flushRequested', 1],
      ['flushDone', 0],
    ]);
  });

  it('leaves a vCPU in the guest that was sent a request without a kick', () => {
    const machine = new TestMachine();
    const [a, b] = machine.threads;
    const req = machine.requests;
    machine.run(enterGuest(req, a, 0));
    machine.run(makeRequest(req, b, 0, Request.unblock));
    expect(machine.run(guestInterrupted(req, a, 0))).toBe(false);
    machine.run(leaveGuest(req, a, 0));
    expect(machine.run(enterGuest(req, a, 0))).toBe(false);
    expect(machine.run(takeRequests(req, a, 0))).toBe(1 << Request.unblock);
  });

  it('waits for lockless walks', () => {
    forSeeds(300, (seed) => {
      const machine = new TestMachine({ threads: 2 });
      const req = machine.requests;
      const link = machine.reserve(2);
      let freed = false;
      function* walker(thread: Thread): Task<void> {
        yield* beginLocklessWalk(req, thread, 0);
        const found = thread.memory.load32(yield read(link)) === 0;
        for (let i = 0; i < 3; i++) {
          thread.memory.load32(yield read((link + 1) as Address));
          if (found && freed) throw new Error('freed under a walk');
        }
        yield* endLocklessWalk(req, thread, 0);
      }
      function* zapper(thread: Thread): Task<void> {
        thread.memory.store32(yield write(link), 1);
        yield* makeAllVcpusRequest(req, thread, Request.tlbFlush, { wait: true });
        freed = true;
      }
      machine.together([walker(machine.threads[0]), zapper(machine.threads[1])], seed);
      expect(freed).toBe(true);
    });
  });
});
