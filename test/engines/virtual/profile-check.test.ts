import { expect, test } from 'vitest';
import { ProfileError, profileProblems, readProfile } from '../../../src/engines/virtual/profile-check.ts';
import { laptop8, PROFILES, skylake2s96 } from '../../../src/engines/virtual/profiles/index.ts';
import { Topology } from '../../../src/engines/virtual/topology.ts';

const problemsOf = (json: unknown): readonly string[] => {
  try {
    readProfile(json, PROFILES);
  } catch (error) {
    if (error instanceof ProfileError) return error.problems;
    throw error;
  }
  return [];
};

test('the built-in profiles pass, and have the sizes that their names say', () => {
  const cpus = Object.values(PROFILES).map((profile) => {
    expect(profileProblems(profile)).toEqual([]);
    expect(PROFILES[profile.name]).toBe(profile);
    return new Topology(profile.topology).cpus;
  });
  expect(cpus).toEqual([96, 416, 8]);
});

test('nearer is never dearer', () => {
  for (const { transfer, access } of Object.values(PROFILES)) {
    expect(transfer.siblingNs).toBeLessThan(transfer.socketNs);
    expect(transfer.socketNs).toBeLessThanOrEqual(transfer.remoteNs);
    expect(access.hitNs).toBeLessThan(access.atomicNs);
  }
});

test('a profile survives JSON', () => {
  expect(readProfile(JSON.parse(JSON.stringify(skylake2s96)), PROFILES)).toEqual(skylake2s96);
});

test('a file may hold only what differs from a built-in profile', () => {
  const profile = readProfile({ extends: 'laptop-8', name: 'slow-exits', costs: { vmExit: 2000 } }, PROFILES);
  expect(profile).toEqual({ ...laptop8, name: 'slow-exits', costs: { ...laptop8.costs, vmExit: 2000 } });
  expect(laptop8.costs.vmExit).not.toBe(2000);
});

test('every problem gets one line that says where and what', () => {
  expect(
    problemsOf({
      extends: 'laptop-8',
      name: '',
      jitter: 0.7,
      colour: 'red',
      access: { hitNs: '1' },
      transfer: { socketNs: -3, warpNs: 1 },
      scheduler: { tickNs: 0, resched: 'often' },
      topology: { threadsPerCore: 3 },
    }),
  ).toEqual([
    'name must be a non-empty string, not ""',
    'access.hitNs must be a number from 0 to 86400000000000 nanoseconds, not "1"',
    'transfer.socketNs must be a number from 0 to 86400000000000 nanoseconds, not -3',
    'transfer.warpNs is not known; transfer has siblingNs, socketNs, remoteNs, memoryNs, fanoutNs',
    'scheduler.tickNs must be a number from 1 to 86400000000000 nanoseconds, not 0',
    'scheduler.resched must be one of never, contended, tick, not "often"',
    'jitter must be a number from 0 to 0.5, not 0.7',
    'colour is not known; a profile has name, description, topology, access, transfer, scheduler, jitter, costs',
    'topology.threadsPerCore must be 1, 2, 4 or 8, not 3',
  ]);
});

test('what is missing is named', () => {
  const { costs, description, ...rest } = laptop8;
  const { vmExit, ...others } = costs;
  expect(vmExit + description.length).toBeGreaterThan(0);
  expect(problemsOf({ ...rest, costs: others })).toEqual(['description is missing', 'costs.vmExit is missing']);
  expect(problemsOf({ ...rest, description, topology: { sockets: 1 }, costs })).toEqual([
    'topology.coresPerSocket is missing',
    'topology.threadsPerCore is missing',
  ]);
});

test.each([
  [[], 'a profile must be an object, not []'],
  [null, 'a profile must be an object, not null'],
  [{ extends: 'cray' }, 'extends must be one of skylake-2s-96, ultramem-416, laptop-8, not "cray"'],
  [{ extends: 'laptop-8', costs: 5 }, 'costs must be an object, not 5'],
  [
    { extends: 'laptop-8', access: { hitNs: null } },
    'access.hitNs must be a number from 0 to 86400000000000 nanoseconds, not null',
  ],
])('%j is refused in one line', (json, problem) => {
  expect(problemsOf(json)).toEqual([problem]);
});
