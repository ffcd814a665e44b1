import { describe, expect, it } from 'vitest';
import { Execution } from '../../src/engines/explore/execution.ts';
import { explore } from '../../src/engines/explore/explore.ts';
import { Sampler } from '../../src/engines/explore/sampler.ts';
import { RandomWalk } from '../../src/engines/explore/schedulers/random-walk.ts';
import { RoundRobin } from '../../src/engines/explore/schedulers/round-robin.ts';
import { loadAllScenarios, loadScenario, scenarioNames } from '../../src/scenarios/library.ts';
import { parseScenario } from '../../src/scenarios/scenario.ts';
import { VmProgram } from '../../src/scenarios/vm-program.ts';
import { ScriptError } from '../../src/script/script-error.ts';
import { UsageError } from '../../src/workloads/usage-error.ts';

const SMALL = `# A test.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread ioctl
zaprange gfn=16 n=2
`;

describe('scenarios', () => {
  const all = loadAllScenarios();

  it('are many, each with a line that says what it is', () => {
    expect(all.length).toBeGreaterThanOrEqual(30);
    expect(all.filter(({ pits }) => pits.length < 20 || !pits.endsWith('.')).map(({ name }) => name)).toEqual([]);
  });

  it.each(all.map((scenario) => [scenario.name, scenario] as const))('%s holds', async (_name, scenario) => {
    const program = new VmProgram(scenario);
    expect(program.words).toBeLessThan(16_384);
    for (const policy of ['random', 'pct'] as const) {
      const report = await explore(program, { policy, executions: 12, depth: 5000, repeatEvery: 4 });
      expect(report.findings).toEqual([]);
      expect(report.cut.depth).toBe(0);
      // Some executions were run a second time, and did the same.
      expect(report.repeated).toBeGreaterThan(0);
    }
  });

  it('leave one and the same state behind whenever they run alone in turns', () => {
    for (const scenario of all.slice(0, 8)) {
      const execution = new Execution(new VmProgram(scenario));
      const runs = [1, 2].map(() => {
        new Sampler(execution, new RoundRobin(1)).run();
        return [execution.length, execution.memory.hash()];
      });
      expect(runs[0]).toEqual(runs[1]);
    }
  });
});

describe('the VM of a scenario', () => {
  it('is put back before each execution, whatever the one before did', () => {
    const execution = new Execution(new VmProgram(parseScenario(SMALL, 'small', 'small.kt')));
    const run = (seed: number): number[] => {
      new Sampler(execution, new RandomWalk(seed, 1)).run();
      return [execution.length, execution.memory.hash()];
    };
    const first = [1, 2, 3].map(run);
    expect([3, 1, 2].map(run)).toEqual([first[2], first[0], first[1]]);
  });

  it('gives up an execution in the middle without a trace', () => {
    const execution = new Execution(new VmProgram(parseScenario(SMALL, 'small', 'small.kt')));
    const whole = new Sampler(execution, new RandomWalk(5, 1));
    whole.run();
    const state = execution.memory.hash();
    expect(new Sampler(execution, new RandomWalk(9, 1), 30).run()).toBe('cut');
    new Sampler(execution, new RandomWalk(5, 1)).run();
    expect(execution.memory.hash()).toBe(state);
  });

  it('runs what stands behind the race at the end of every execution, and tells where it fails', async () => {
    const text = `${SMALL}phase end\nexpect unmapped gfn=16\nexpect mapped gfn=16\n`;
    const report = await explore(new VmProgram(parseScenario(text, 'small', 'small.kt')), { policy: 'random', executions: 20 });
    expect(report.findings[0].rule).toBe('expectation');
    expect(report.findings[0].message).toMatch(/line 13: gfn 0x10 is not mapped/);
  });
});

describe('loading scenarios', () => {
  it('knows the nearest name', () => {
    expect(() => loadScenario('fault-against-fualt')).toThrow(UsageError);
    expect(() => loadScenario('fault-against-fualt')).toThrow(/did you mean 'fault-against-fault'/);
    expect(scenarioNames()).toContain('fault-against-fault');
  });

  it('wants one race', () => {
    expect(() => parseScenario('vm vcpus=1 code=0\n', 'none', 'none.kt')).toThrow(ScriptError);
    const twice = `${SMALL}join\nthread vcpu0\ntouch vcpu=0 gfn=17 op=w\nthread ioctl\nzapall\n`;
    expect(() => parseScenario(twice, 'two', 'two.kt')).toThrow(/one step with threads side by side/);
  });
});
