import { describe, expect, it } from 'vitest';
import type { KernelBehaviours } from '../../src/mmu/generation.ts';
import { zapTask } from '../../src/paper/zap-overhaul.ts';
import { simulate } from '../../src/simulate/simulation.ts';

const MIB = 2 ** 20;
/** Of the code, and of the levels above. */
const FEW_TABLES = 16;

/** `tables` page-table pages with a page each. */
const zap = (behaviours: KernelBehaviours, tables: number) =>
  simulate(zapTask({ kernel: '6.12', behaviours }, (tables * 2 * MIB) / 4));

describe('a zap of all roots, with one choice made otherwise', () => {
  it('holds RCU for as long as its largest piece takes', async () => {
    // 2G: two 1G entries.
    const onePass = await zap({ rootZapPasses: ['root'] }, 1024);
    const twoPasses = await zap({ rootZapPasses: [3, 'root'] }, 1024);
    const ratio = onePass.virtual.rcu!.ns / twoPasses.virtual.rcu!.ns;
    expect(ratio).toBeGreaterThan(1.8);
    expect(ratio).toBeLessThan(2.3);
    expect(onePass.virtual.stall.thread).toBe('ioctl');
    // The vCPUs go on meanwhile.
    expect(onePass.virtual.vcpuStall!.ns).toBeLessThan(onePass.virtual.stall.ns / 10);
  });

  it('flushes for each leaf and each table at once, or not at all; and is the business of a worker, if there is one', async () => {
    const tables = 64;
    const immediate = await zap({ rootZapFlushes: true }, tables);
    const byWorker = await zap({ rootZapBy: 'worker' }, tables);
    const { requested } = immediate.measurement.flushes;
    expect(requested).toBeGreaterThan(2 * (tables - FEW_TABLES));
    expect(requested).toBeLessThan(2 * (tables + FEW_TABLES));
    expect(byWorker.measurement.flushes.requested).toBe(0);
    expect(byWorker.virtual.stall.thread).toBe('zap worker');
  });
});
