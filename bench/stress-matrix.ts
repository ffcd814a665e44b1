/**
 * Whether every workload ends with PASS on every kernel, under delays at random: a sample of the combinations, or all of them
 * with `TDPSIM_MATRIX=all`, which takes half an hour on a quiet machine. Exits with 1 where one did not pass.
 */
import { combinations, nameOf, sample, verdictFor } from './programs/stress-matrix.ts';

const chosen = process.env.TDPSIM_MATRIX === 'all' ? combinations() : sample();
console.log(`Workloads on kernels, under --perturb: ${chosen.length} of ${combinations().length} combinations`);
const failed: string[] = [];
for (const combination of chosen) {
  const began = performance.now();
  const { kind, text } = await verdictFor(combination);
  if (kind !== 'PASS') failed.push(nameOf(combination));
  const seconds = ((performance.now() - began) / 1000).toFixed(1).padStart(6);
  console.log(`  ${kind.padEnd(10)} ${seconds} s  ${nameOf(combination)}${kind === 'PASS' ? '' : `: ${text}`}`);
}
console.log(failed.length === 0 ? `PASS: all ${chosen.length}` : `FAIL: ${failed.length} of ${chosen.length}`);
process.exitCode = failed.length === 0 ? 0 : 1;
