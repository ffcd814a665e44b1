import { describe, expect, test } from 'vitest';
import {
  type Address,
  CoverageScheduler,
  DeterminismCheck,
  Execution,
  Exhaustive,
  explore,
  type Memory,
  MetricsScheduler,
  PartialOrderSampling,
  Pct,
  type Program,
  type ProgramContext,
  RandomWalk,
  RoundRobin,
  read,
  Sampler,
  type Scheduler,
  write,
} from '../../../src/explore.ts';
import { programOf, zap } from './programs.ts';

const a = 0 as Address;

/** Executions until the first finding, at most `max`. */
function executionsToFinding(program: Program, scheduler: Scheduler, max = 20_000): number {
  const sampler = new Sampler(new Execution(program), scheduler);
  for (let n = 1; n <= max; n++) {
    if (sampler.run() === null) break;
    if (sampler.finding !== null) return n;
  }
  return Number.POSITIVE_INFINITY;
}

function median(values: number[]): number {
  return values.sort((x, y) => x - y)[values.length >> 1];
}

describe('policies', () => {
  const bug = zap(2, 1, 0);
  const seeds = Array.from({ length: 21 }, (_, i) => i + 1);

  test('the random ones find the leaf in a dead table within a few executions', () => {
    expect(median(seeds.map((s) => executionsToFinding(bug, new RandomWalk(s))))).toBeLessThan(30);
    expect(median(seeds.map((seed) => executionsToFinding(bug, new Pct({ seed, depth: 3, steps: 14, tasks: 3 }))))).toBeLessThan(
      30,
    );
    expect(median(seeds.map((s) => executionsToFinding(bug, new PartialOrderSampling(s, 3))))).toBeLessThan(30);
  });

  test('depth first search finds it too', () => {
    const n = executionsToFinding(bug, new Exhaustive());
    expect(n).toBeLessThan(8785);
  });

  test('none of them finds anything where nothing is wrong', () => {
    expect(executionsToFinding(zap(2, 1), new RandomWalk(1), 2000)).toBe(Number.POSITIVE_INFINITY);
    expect(executionsToFinding(zap(2, 1), new Exhaustive())).toBe(Number.POSITIVE_INFINITY);
  });

  test('an execution of a random policy depends on its number only', () => {
    const schedules = (first: number, n: number): string[] => {
      const sampler = new Sampler(new Execution(programOf('cas(3,2)')), new RandomWalk(7, n, first));
      const all: string[] = [];
      while (sampler.run() !== null) all.push(sampler.execution.schedule().join(''));
      return all;
    };
    expect(schedules(5, 10)).toEqual(schedules(0, 20).slice(5, 15));
    expect(new Set(schedules(0, 20)).size).toBeGreaterThan(10);
  });

  test('round robin alternates', () => {
    const sampler = new Sampler(new Execution(programOf('readers(3)')), new RoundRobin());
    sampler.run();
    expect(sampler.execution.schedule()).toEqual([0, 1, 2, 3]);
    expect(sampler.run()).toBeNull();
  });

  test('PCT of depth 1 runs threads one after another', () => {
    const sampler = new Sampler(
      new Execution(programOf('cas(3,2)')),
      new Pct({ seed: 3, depth: 1, steps: 12, tasks: 3, executions: 50 }),
    );
    const orders = new Set<string>();
    while (sampler.run() !== null) {
      const schedule = sampler.execution.schedule();
      expect(schedule.filter((t, i) => i > 0 && t !== schedule[i - 1])).toHaveLength(2);
      orders.add([...new Set(schedule)].join(''));
    }
    expect(orders.size).toBe(6);
  });
});

describe('wrappers', () => {
  test('metrics count what was done', () => {
    const metrics = new MetricsScheduler(new Exhaustive());
    const sampler = new Sampler(new Execution(programOf('readers(2)')), metrics);
    while (sampler.run() !== null);
    expect(metrics.metrics).toMatchObject({ executions: 6, passed: 6, steps: 18, stepsMax: 3, switches: 12, preemptions: 0 });
    expect(metrics.metrics.choices).toBe(6 * (3 + 2 + 1));
  });

  test('coverage tells the marks that nobody came by', () => {
    const program: Program = {
      name: 'marks',
      words: 2,
      marks: ['zero', 'one', 'two'],
      threads: [
        {
          name: 'reader',
          *run(m: Memory, context: ProgramContext) {
            context.mark(m.load32(yield read(a)) === 0 ? 'zero' : 'one');
          },
        },
        {
          name: 'writer',
          *run(m: Memory) {
            m.store32(yield write(a), 1);
          },
        },
      ],
    };
    const coverage = new CoverageScheduler(new Exhaustive(), program.marks);
    const sampler = new Sampler(new Execution(program), coverage);
    while (sampler.run() !== null);
    expect(Object.fromEntries(coverage.hits)).toEqual({ zero: 1, one: 1, two: 0 });
    expect(coverage.missing).toEqual(['two']);
  });

  /** Remembers across executions, as a program must not. */
  const forgetful = (atCheck: boolean): Program => {
    let runs = 0;
    return {
      name: 'not deterministic',
      words: 4,
      threads: [
        {
          name: 'a',
          *run(m: Memory) {
            runs++;
            if (!atCheck && runs % 7 === 0) m.load32(yield read(a));
            m.store32(yield write(a), 1);
          },
        },
        {
          name: 'b',
          *run(m: Memory) {
            m.load32(yield read(a));
          },
        },
      ],
      check: () => (atCheck && runs % 7 === 0 ? 'the seventh' : null),
    };
  };

  test('the determinism check catches a program that takes other steps when repeated', () => {
    const sampler = new Sampler(new Execution(forgetful(false)), new DeterminismCheck(new RandomWalk(1), 1));
    expect(() => {
      for (let i = 0; i < 20; i++) sampler.run();
    }).toThrow(/not deterministic/);
  });

  test('and one that fails once and not when repeated, sampled or searched', async () => {
    const sampler = new Sampler(new Execution(forgetful(true)), new DeterminismCheck(new RandomWalk(1), 1000));
    expect(() => {
      for (let i = 0; i < 20; i++) sampler.run();
    }).toThrow(/failed \(check\), and passed/);
    let runs = 0;
    const once: Program = { ...programOf('cas(2,2)'), check: () => (runs++ === 20 ? 'once' : null) };
    await expect(explore(once, { repeatEvery: 0 })).rejects.toThrow(/not deterministic/);
    const every7: Program = { ...forgetful(false), threads: [...forgetful(false).threads, ...programOf('cas(2,2)').threads] };
    await expect(explore(every7)).rejects.toThrow(/not deterministic|when repeated/);
  });
});
