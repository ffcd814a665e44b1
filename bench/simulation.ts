// resumable
/**
 * How fast whole workloads are simulated: demand faults a second of real time by number of vCPUs, and memory by guest size.
 */
import { profileFor, type SimulationTask, simulate } from '../src/simulate/simulation.ts';
import { demandPaging } from '../src/workloads/demand-paging.ts';
import { parseOptions } from '../src/workloads/option.ts';
import { runSettings } from '../src/workloads/run-settings.ts';

/** Enough for what comes before the first fault not to count. */
const FAULTS = 200_000;
const GIB = 2 ** 30;

function task(vcpus: number, bytes: number, others: Record<string, string> = {}): SimulationTask {
  return {
    workload: 'demand-paging',
    options: parseOptions(demandPaging.options, { vcpus: String(vcpus), bytesPerVcpu: String(bytes), ...others }),
    settings: runSettings({}, []),
    profile: profileFor(vcpus),
    measure: false,
    vm: { trackContents: false },
  };
}

const print = (...cells: (string | number)[]): void => {
  process.stdout.write(`${cells.join('\t')}\n`);
};

print('vCPUs', 'faults', 'faults/s', 'Msteps/s', 'steps/fault');
for (const vcpus of [1, 8, 96, 416]) {
  const bytes = 4096 * Math.ceil(FAULTS / vcpus);
  const began = process.cpuUsage();
  const { measurement, virtual } = await simulate(task(vcpus, bytes));
  const { user, system } = process.cpuUsage(began);
  const seconds = (user + system) / 1e6;
  const { taken } = measurement.faults;
  print(
    vcpus,
    taken,
    Math.round(taken / seconds),
    (virtual.steps / seconds / 1e6).toFixed(2),
    (virtual.steps / taken).toFixed(1),
  );
}

// A guest's size costs next to nothing: what grows is what is touched.
print('');
print('guest', 'backing', 'faults', 'page-table pages', 'resident MiB');
for (const gib of [1, 64, 1024, 12 * 1024]) {
  for (const backing of ['anonymous_hugetlb_1gb', 'anonymous']) {
    const { measurement } = await simulate(task(4, (gib * GIB) / 4, { backing, stride: gib < 4 ? '1M' : '1G' }));
    const resident = Math.round(process.memoryUsage().rss / 2 ** 20);
    print(`${gib}G`, backing, measurement.faults.taken, measurement.pages.allocated, resident);
  }
}
