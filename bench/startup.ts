/**
 * How long threads take to start: from the first worker's creation until all can begin.
 */
import { benchRun, print } from './programs/bench-run.ts';

console.log('Start of worker threads');
for (const threads of [1, 4, 16, 64]) {
  const { startupNs } = await benchRun({
    programs: Array(threads).fill('lock'),
    options: { lock: 'RCU section', rounds: 1, warmup: 0 },
  });
  print(
    `${threads} threads`,
    `${(startupNs / 1e6).toFixed(0).padStart(6)} ms`,
    `${(startupNs / 1e6 / threads).toFixed(1)} ms each`,
  );
}
