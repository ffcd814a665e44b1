/**
 * What measuring costs: demand faults, the shortest operation that is measured, with and without, in turns.
 *
 * The machine may be busy with other things. So processor time is compared, not time of day; the two of a pair run back to back,
 * in changing order; and the ratio is the median of the pairs'. Measuring must leave at least 90 % of the throughput.
 */
import { print } from './programs/bench-run.ts';
import { faultRun } from './programs/fault-run.ts';

const PAGES = 2_000_000;
const PAIRS = 7;
const RATIO_MIN = 0.9;

const processorNs = async (vcpus: number, measure: boolean): Promise<number> => {
  const run = await faultRun({ vcpus, lock: 'rwlock', measure, pages: PAGES });
  return run.processorNs / run.faults;
};

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

async function compare(vcpus: number): Promise<boolean> {
  const plain: number[] = [];
  const measured: number[] = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    const order = pair % 2 === 0 ? [false, true] : [true, false];
    for (const measure of order) (measure ? measured : plain).push(await processorNs(vcpus, measure));
  }
  const ratio = median(plain.map((ns, i) => ns / measured[i]));
  const each = (ns: number) => `${ns.toFixed(0).padStart(6)} ns of processor time a fault`;
  print(`${vcpus} vCPU${vcpus > 1 ? 's' : ''}, not measured`, each(median(plain)));
  print(
    `${vcpus} vCPU${vcpus > 1 ? 's' : ''}, measured`,
    each(median(measured)),
    `${(100 * ratio).toFixed(1)} % of the throughput`,
  );
  return ratio >= RATIO_MIN;
}

console.log('Cost of measuring');
const held = [await compare(1), await compare(2)].every(Boolean);
console.log(held ? 'measuring leaves at least 90 % of the throughput' : 'measuring costs more than 10 % of the throughput');
