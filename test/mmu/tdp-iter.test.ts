import { beforeEach, describe, expect, it } from 'vitest';
import type { Task } from '../../src/machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../../src/machine/rcu.ts';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { asGfn, Geometry } from '../../src/mmu/level.ts';
import { mmuReadLock, mmuReadUnlock } from '../../src/mmu/mmu-lock.ts';
import { IterMode } from '../../src/mmu/params.ts';
import { isShadowPresent } from '../../src/mmu/spte.ts';
import { TdpIter, tdpIterNext, tdpIterStart } from '../../src/mmu/tdp-iter.ts';
import { tdpMmuIterCondResched } from '../../src/mmu/tdp-iter-resched.ts';
import { MmuMachine } from './mmu-machine.ts';

describe('Geometry', () => {
  const g = new Geometry({ entries: 512, rootLevel: 5, maxGfn: 2 ** 45 });
  it('finds indices beyond 32 bits', () => {
    const gfn = asGfn(5 * 2 ** 36 + 7 * 2 ** 27 + 3 * 2 ** 18 + 2 * 512 + 9);
    expect([5, 4, 3, 2, 1].map((level) => g.index(gfn, level))).toEqual([5, 7, 3, 2, 9]);
    expect(g.round(gfn, 3)).toBe(5 * 2 ** 36 + 7 * 2 ** 27 + 3 * 2 ** 18);
    expect(g.aligned(2 ** 36, 5)).toBe(true);
    expect(g.aligned(2 ** 36 + 1, 2)).toBe(false);
  });
});

describe('TdpIter', () => {
  let machine: MmuMachine;
  const visited: string[] = [];

  function* walk(minLevel: number, start: number, end: number): Task<void> {
    const kvm = machine.kvms[2];
    const iter = new TdpIter(kvm.spte.nonpresent);
    visited.length = 0;
    yield* rcuReadLock(kvm.rcu, kvm.thread);
    yield* tdpIterStart(kvm, iter, machine.vcpus[0].root, minLevel, asGfn(start));
    for (; iter.inside(asGfn(end)); yield* tdpIterNext(kvm, iter)) {
      visited.push(`${iter.level}:${iter.gfn}${isShadowPresent(iter.oldSpte) ? '' : '-'}`);
    }
    yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  }

  beforeEach(() => {
    machine = new MmuMachine({ entries: 4, maxGfn: 256 });
    for (const gfn of [0, 2, 21, 64]) machine.run(machine.fault(0, gfn));
  });

  it('visits an entry before what lies below it, empty ones included', () => {
    machine.run(walk(2, 0, 256));
    expect(visited).toEqual([
      '4:0', '3:0', '2:0', '2:4-', '2:8-', '2:12-', '3:16', '2:16-', '2:20', '2:24-', '2:28-', '3:32-', '3:48-',
      '4:64', '3:64', '2:64', '2:68-', '2:72-', '2:76-', '3:80-', '3:96-', '3:112-', '4:128-', '4:192-',
    ]); // biome-ignore format: the levels read better in rows
  });

  it('goes straight to where it starts', () => {
    machine.run(walk(1, 21, 23));
    expect(visited).toEqual(['4:0', '3:16', '2:20', '1:21', '1:22-']);
  });

  it('visits present entries only, where that is the mode, and all of them', () => {
    machine.run(walk(1, 0, 256));
    const plain = visited.filter((v) => !v.endsWith('-'));
    const plainSteps = machine.counter(MmuCounter.iter_steps);
    machine.kvms[0].params.set('iterMode', IterMode.onlyPresent);
    machine.run(walk(1, 0, 256));
    expect(visited.filter((v) => !v.endsWith('-'))).toEqual(plain);
    // A table's first entry is where the walk steps in, whatever it holds.
    expect(visited.filter((v) => v.endsWith('-'))).toEqual(['2:16-', '1:20-']);
    expect(machine.counter(MmuCounter.iter_steps) - plainSteps).toBeLessThan(plainSteps);
  });

  it('starts again at the root after a yield, and only moves on', () => {
    const kvm = machine.kvms[2];
    let resched = 0;
    const busy = new MmuMachine({ entries: 4, maxGfn: 256, needResched: () => ++resched % 2 === 0 });
    for (const gfn of [0, 1, 2, 3, 21]) busy.run(busy.fault(0, gfn));
    const seen: number[] = [];
    busy.run(
      (function* () {
        const k = busy.kvms[2];
        const iter = new TdpIter(k.spte.nonpresent);
        yield* mmuReadLock(k, 0);
        yield* rcuReadLock(k.rcu, k.thread);
        yield* tdpIterStart(k, iter, busy.vcpus[0].root, 1, asGfn(0));
        for (; iter.inside(asGfn(256)); yield* tdpIterNext(k, iter)) {
          if (yield* tdpMmuIterCondResched(k, iter, false, true)) continue;
          if (iter.level === 1 && isShadowPresent(iter.oldSpte)) seen.push(iter.gfn);
        }
        yield* rcuReadUnlock(k.rcu, k.thread);
        yield* mmuReadUnlock(k);
      })(),
    );
    expect([...new Set(seen)]).toEqual([0, 1, 2, 3, 21]);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(busy.counter(MmuCounter.iter_restarts)).toBeGreaterThan(3);
    expect(kvm.counters[MmuCounter.iter_restarts]).toBe(0);
  });
});
