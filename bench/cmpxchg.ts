/**
 * SPTE updates by 64-bit cmpxchg a second, by number of threads: each in a table of its own, and all in one SPTE.
 */
import { benchRun, perSecond, print } from './programs/bench-run.ts';

const ROUNDS = 2_000_000;

for (const shared of [false, true]) {
  console.log(shared ? 'SPTE cmpxchg, all threads in one SPTE' : 'SPTE cmpxchg, each thread in its own table');
  for (const threads of [1, 2, 4, 8]) {
    const options = { shared, rounds: Math.floor(ROUNDS / threads), warmup: 200_000 };
    const result = await benchRun({ programs: Array(threads).fill('exchange'), options });
    const phase = (name: string) => result.measurement.phases.find((p) => p.name === name)!;
    const rounds = options.rounds * threads;
    const lost = ((100 * phase('lost').totalNs) / rounds).toFixed(1);
    print(`${threads} threads`, perSecond(rounds, Math.max(...phase('exchanging').ns), 'exchanges'), `${lost} % lost`);
  }
}
