/**
 * Demand faults of several vCPUs, each over memory of its own that the host has populated.
 */
import { setUserMemoryRegion } from '../../src/vm/set-memory-region.ts';
import { benchRun } from './bench-run.ts';

export interface FaultRun {
  readonly vcpus: number;
  readonly lock: 'rwlock' | 'spinlock';
  readonly measure: boolean;
  /** Pages of all vCPUs together; the first quarter of each share is not timed. */
  readonly pages: number;
}

export interface FaultTimes {
  /** Faults that were timed, of all vCPUs. */
  readonly faults: number;
  /** Time of the slowest vCPU. */
  readonly ns: number;
  /** Processor time of the whole process meanwhile. */
  readonly processorNs: number;
}

/** Errors: a page was not mapped by exactly one fault. */
export async function faultRun({ vcpus, lock, measure, pages }: FaultRun): Promise<FaultTimes> {
  const share = Math.floor(pages / vcpus);
  const warmup = Math.floor(share / 4);
  const total = share * vcpus;
  const tablePages = 64 * vcpus + 2 * Math.ceil(total / 512);
  const result = await benchRun({
    programs: Array(vcpus).fill('fault'),
    options: { pages: share, warmup },
    vm: { vcpus, lock, tablePages, memory: [{ name: 'ram', type: '4k', pages: total, populate: true }] },
    measure,
    *setUp(vm) {
      const error = yield* setUserMemoryRegion(vm, { slot: 0, baseGfn: 0, pages: total, region: 0 });
      if (error !== 0) throw new Error(`the memslot: error ${error}`);
    },
  });
  const { counters, phases } = result.measurement;
  if (counters.leaves_installed !== total) throw new Error(`${counters.leaves_installed} pages were mapped, not ${total}`);
  const longest = (name: string) => Math.max(...phases.find((phase) => phase.name === name)!.ns);
  return { faults: (share - warmup) * vcpus, ns: longest('faults'), processorNs: longest('processor') };
}
