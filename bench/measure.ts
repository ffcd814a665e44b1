/**
 * What measuring costs: demand faults of one vCPU, the shortest operation that is measured, with and without, in turns.
 *
 * The machine may be busy with other things, so each pair runs back to back in changing order, and the ratio is the median of
 * the pairs'. Measuring must leave at least 90 % of the throughput.
 */
import { perSecond, print } from './programs/bench-run.ts';
import { faultRun } from './programs/fault-run.ts';

const PAGES = 1_000_000;
const PAIRS = 7;
const RATIO_MIN = 0.9;

const nsPerFault = async (vcpus: number, measure: boolean): Promise<number> => {
  const { faults, ns } = await faultRun({ vcpus, lock: 'rwlock', measure, pages: PAGES });
  return ns / faults;
};

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];

async function compare(vcpus: number): Promise<boolean> {
  const plain: number[] = [];
  const measured: number[] = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    const order = pair % 2 === 0 ? [false, true] : [true, false];
    for (const measure of order) (measure ? measured : plain).push(await nsPerFault(vcpus, measure));
  }
  const ratio = median(plain.map((ns, i) => ns / measured[i]));
  print(`${vcpus} vCPU, not measured`, perSecond(1, median(plain), 'faults'));
  print(`${vcpus} vCPU, measured`, perSecond(1, median(measured), 'faults'), `${(100 * ratio).toFixed(1)} % of the throughput`);
  return ratio >= RATIO_MIN;
}

console.log('Cost of measuring');
const held = [await compare(1), await compare(2)].every(Boolean);
console.log(held ? 'measuring leaves at least 90 % of the throughput' : 'measuring costs more than 10 % of the throughput');
process.exitCode = held ? 0 : 1;
