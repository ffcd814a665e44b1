import { describe, expect, it } from 'vitest';
import { laptop8 } from '../../src/engines/virtual/profiles/index.ts';
import { ArenaLayout } from '../../src/machine/arena.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { taskFor } from '../../src/paper/tasks.ts';
import { HASH_BUCKETS, ShadowLayout } from '../../src/shadow/shadow-layout.ts';
import { bucketOf } from '../../src/shadow/shadow-page.ts';
import { simulate } from '../../src/simulate/simulation.ts';

const layout = new ShadowLayout(new ArenaLayout(), 1, HASH_BUCKETS);
const bucket = (gfn: number): number => bucketOf(layout, asGfn(gfn)) - layout.hash;

describe('the hash of shadow pages', () => {
  it('is the upper bits of the gfn times the golden ratio', () => {
    for (const gfn of [0, 1, 512, 262_144, 2 ** 32 - 512, 2 ** 36 + 7 * 512, 2 ** 40 - 512]) {
      const wanted = ((BigInt(gfn) * 0x61c8_8646_80b5_83ebn) & (2n ** 64n - 1n)) >> 52n;
      expect(bucket(gfn)).toBe(Number(wanted));
    }
  });

  it('spreads the tables of a large guest evenly', () => {
    // 200G on 4K pages: the change that brought this hash in counted at most 29 collisions.
    const lengths = new Map<number, number>();
    for (let table = 0; table < 100 * 1024; table++) {
      const at = bucket(512 * table);
      lengths.set(at, (lengths.get(at) ?? 0) + 1);
    }
    expect(lengths.size).toBe(HASH_BUCKETS);
    expect(Math.max(...lengths.values())).toBeLessThanOrEqual(30);
  });
});

describe('a writable leaf of the rmap-based MMU', () => {
  async function passed(buckets: number): Promise<number> {
    const task = taskFor({
      workload: 'demand-paging',
      profile: { ...laptop8, jitter: 0 },
      options: { vcpus: '2', bytesPerVcpu: '2M' },
      settings: { mmu: 'shadow' },
    });
    const { virtual, measurement } = await simulate({ ...task, vm: { mmuPageHashBuckets: buckets } });
    return (virtual.vcpus.causes.hashedPage ?? 0) / laptop8.costs.hashedPage / measurement.kvmStat.pf_fixed;
  }

  it('passes every page of its bucket: all there are, where there is one bucket', async () => {
    // Two tables of 4K pages for the data, one for the code, those above them, and the root.
    const all = await passed(1);
    expect(all).toBeGreaterThan(4.5);
    expect(all).toBeLessThan(8);
    expect(await passed(HASH_BUCKETS)).toBeLessThan(1);
  });
});
