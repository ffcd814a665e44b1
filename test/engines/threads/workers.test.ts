/** The product's own workers, plain and perturbed, with the real page-fault path under them. */
import { describe, expect, it } from 'vitest';
import type { EnginePlan } from '../../../src/engines/plan.ts';
import { runThreads } from '../../../src/engines/threads/run-threads.ts';
import { workerFile } from '../../../src/engines/threads/worker-file.ts';
import { setUserMemoryRegion } from '../../../src/vm/set-memory-region.ts';

const VCPUS = 3;
const PAGES = 2000;

const plan: EnginePlan = {
  workload: 'faults',
  options: { pages: PAGES, warmup: 0 },
  seed: 1,
  vm: { vcpus: VCPUS, tablePages: 256, memory: [{ name: 'ram', type: '4k', pages: VCPUS * PAGES, populate: true }] },
  params: {},
  threads: Array.from({ length: VCPUS }, (_, index) => ({
    role: 'vcpu',
    name: `vcpu ${index}`,
    program: 'fault',
    index,
    daemon: false,
  })),
};

describe.each([
  ['plain', false, 0],
  ['perturbed', true, 0.01],
] as const)('vCPUs on %s workers', (_name, perturbed, perturb) => {
  it('map every page once, and all faults are told', async () => {
    const result = await runThreads(
      plan,
      {
        controlWords: 0,
        *setUp(vm) {
          expect(yield* setUserMemoryRegion(vm, { slot: 0, baseGfn: 0, pages: VCPUS * PAGES, region: 0 })).toBe(0);
        },
      },
      { filename: workerFile('bench', perturbed), perturb },
    );
    expect(result).toMatchObject({ complete: true, reason: '', exitCode: 0 });
    const { counters, kvmStat, faults, locks, walks } = result.measurement;
    expect(counters.leaves_installed).toBe(VCPUS * PAGES);
    expect(kvmStat.pages_4k).toBe(VCPUS * PAGES);
    const outcomes = counters.pf_fixed + counters.pf_spurious + Object.values(faults.retries).reduce((a, b) => a + b, 0);
    expect(outcomes).toBe(faults.taken);
    expect(faults.latency.timed).toBeGreaterThanOrEqual(VCPUS * 64);
    const reads = locks.filter(({ lock, site }) => lock === 'mmu_lock' && site === 'kvm_tdp_page_fault');
    expect(reads.map(({ mode }) => mode)).toEqual(['read']);
    expect(reads[0].acquisitions).toBeGreaterThanOrEqual(VCPUS * PAGES);
    expect(walks.operations.find(({ operation }) => operation === 'page_fault')?.steps).toBe(walks.steps);
  });
});
