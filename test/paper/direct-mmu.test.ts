import { describe, expect, it } from 'vitest';
import { bucketPages, directMmuTask, hashBuckets } from '../../src/paper/direct-mmu.ts';
import { simulate } from '../../src/simulate/simulation.ts';

const MIB = 2 ** 20;

describe('the guest of direct-mmu', () => {
  it('has buckets as long at every scale as the large guest has on average', () => {
    expect(hashBuckets(4096 * MIB)).toBe(4096);
    for (const mib of [2, 4, 64, 1024, 4096]) expect(bucketPages(mib * MIB)).toBe(104);
  });

  it('passes about so many pages a fault', async () => {
    const task = directMmuTask('shadow', 2 * MIB);
    // A part of the vCPUs, and of the pages of the buckets with them.
    const { virtual, measurement } = await simulate({
      ...task,
      profile: { ...task.profile, jitter: 0 },
      options: { ...task.options, vcpus: 52, bytesPerVcpu: 256 * 1024 },
      vm: { ...task.vm, mmuPageHashBuckets: 1 },
    });
    const passed = virtual.vcpus.causes.hashedPage / task.profile.costs.hashedPage / measurement.kvmStat.pf_fixed;
    // 13M are 7 or 8 tables; those of the code and of upper levels are in the one bucket, too.
    expect(passed).toBeGreaterThan(7);
    expect(passed).toBeLessThan(16);
    // A few of the vCPUs queue already.
    expect(virtual.vcpus.groups.mmuLock / virtual.vcpus.busyNs).toBeGreaterThan(0.5);
  });
});
