import { expect, test } from 'vitest';
import { Topology, topologyProblems } from '../../../src/engines/virtual/topology.ts';

const shape = { sockets: 2, coresPerSocket: 3, threadsPerCore: 2 };

test('CPUs are numbered first threads first, socket by socket', () => {
  const topology = new Topology(shape);
  expect(topology.cpus).toBe(12);
  expect([...topology.coreOf]).toEqual([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]);
  expect([0, 2, 3, 5, 6, 9].map((cpu) => topology.socketOf(cpu))).toEqual([0, 0, 1, 1, 0, 1]);
});

test('each pinning order uses every CPU once before it begins again', () => {
  const topology = new Topology(shape);
  for (const order of ['cores', 'threads', 'sockets'] as const) {
    const cpus = Array.from({ length: 12 }, (_, i) => topology.pin(i, order));
    expect([...cpus].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(topology.pin(12, order)).toBe(cpus[0]);
  }
});

test('pinning orders fill cores, threads of a core, or sockets in turn', () => {
  const topology = new Topology(shape);
  const first = (order: 'cores' | 'threads' | 'sockets'): number[] => [0, 1, 2, 3, 4].map((i) => topology.pin(i, order));
  expect(first('cores')).toEqual([0, 1, 2, 3, 4]);
  expect(first('threads')).toEqual([0, 6, 1, 7, 2]);
  expect(first('sockets')).toEqual([0, 3, 1, 4, 2]);
});

test('impossible machines are named, one line a problem', () => {
  expect(topologyProblems({ sockets: 0, coresPerSocket: 1.5, threadsPerCore: 2 })).toEqual([
    'topology.sockets must be a whole number from 1 to 31, not 0',
    'topology.coresPerSocket must be a whole number from 1 to 1024, not 1.5',
  ]);
  expect(topologyProblems({ sockets: 1, coresPerSocket: 1, threadsPerCore: 3 })).toEqual([
    'topology.threadsPerCore must be 1, 2, 4 or 8, not 3',
  ]);
  expect(topologyProblems({ sockets: 31, coresPerSocket: 1024, threadsPerCore: 2 })).toEqual([
    'topology has 63488 hardware threads; at most 4096 are modelled',
  ]);
  expect(() => new Topology({ sockets: -1, coresPerSocket: 1, threadsPerCore: 1 })).toThrow('topology.sockets');
});
