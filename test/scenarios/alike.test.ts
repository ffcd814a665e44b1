import { describe, expect, it } from 'vitest';
import { scenariosAlike } from '../../src/scenarios/alike.ts';
import { scenarioNames } from '../../src/scenarios/library.ts';
import { WORKLOADS } from '../../src/workloads/index.ts';

describe('scenarios for a workload', () => {
  it('are known for each, and exist', () => {
    for (const { name } of WORKLOADS) {
      const alike = scenariosAlike(name);
      expect(alike.length, name).toBeGreaterThan(0);
      expect(scenarioNames()).toEqual(expect.arrayContaining([...alike]));
    }
  });

  it('do what the workload does, and nothing else', () => {
    expect(scenariosAlike('zap-roots')).toContain('fault-against-zap-all');
    expect(scenariosAlike('zap-roots')).not.toContain('zap-range-against-zap-all');
    expect(scenariosAlike('demand-paging')).toContain('fault-against-fault');
    expect(scenariosAlike('demand-paging')).not.toContain('fault-against-zap-all');
    expect(scenariosAlike('dirty-log')).toContain('write-against-get-log');
    expect(scenariosAlike('no-such-workload')).toEqual([]);
  });
});
