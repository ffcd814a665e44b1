/**
 * What taking and releasing a lock costs that nobody else wants, and what measuring adds to it.
 */
import { benchRun, print } from './programs/bench-run.ts';
import { LOCK_KINDS } from './programs/lock.ts';

const ROUNDS = 3_000_000;

async function nsPerRound(lock: string, measure: boolean): Promise<number> {
  const result = await benchRun({ programs: ['lock'], options: { lock, rounds: ROUNDS, warmup: 300_000 }, measure });
  return result.measurement.phases[0].totalNs / ROUNDS;
}

console.log('Lock and unlock, uncontended');
for (const lock of LOCK_KINDS) {
  const plain = await nsPerRound(lock, false);
  const measured = await nsPerRound(lock, true);
  print(lock, `${plain.toFixed(1).padStart(6)} ns`, `${measured.toFixed(1).padStart(6)} ns measured`);
}
