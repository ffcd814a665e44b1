/**
 * The explorer beside its peers, on the same small programs: executions a second without reduction (shuttle), seconds to explore
 * every trace with it (GenMC, Nidhugg), executions to the first failure of a seeded bug. The peers' numbers were measured on one
 * core of a 2.5 GHz Xeon and are in `test/data/dpor.json`.
 */
import {
  Execution,
  Exhaustive,
  explore,
  PartialOrderSampling,
  Pct,
  type Program,
  RandomWalk,
  Sampler,
  type Scheduler,
} from '../src/explore.ts';
import { loadScenario } from '../src/scenarios/library.ts';
import { VmProgram } from '../src/scenarios/vm-program.ts';
import data from '../test/data/dpor.json' with { type: 'json' };
import { programOf, zap } from '../test/engines/explore/programs.ts';

type Rates = Readonly<Record<string, number | undefined>>;

/** Seconds that each rate is measured for, and how often: the best counts, as it did for the peers. */
const MEASURE_S = 0.4;
const REPEATS = 3;

const seconds = (): number => performance.now() / 1000;
const thousands = (rate: number | undefined): string => (rate === undefined ? '-' : `${Math.round(rate / 1000)}k`);

/** Executions a second of a policy that is begun anew whenever it is at its end. */
function rateOf(program: Program, policy: (execution: Execution) => Scheduler): number {
  const execution = new Execution(program);
  let sampler = new Sampler(execution, policy(execution));
  let best = 0;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const start = seconds();
    let executions = 0;
    while (seconds() - start < MEASURE_S) {
      for (let i = 0; i < 500; i++, executions++) {
        if (sampler.run() === null) sampler = new Sampler(execution, policy(execution));
      }
    }
    best = Math.max(best, executions / (seconds() - start));
  }
  return best;
}

function compareRates(): void {
  const peers: Record<string, Rates> = data.peersExecutionsPerSecond;
  const policies: readonly (readonly [string, string, (e: Execution) => Scheduler])[] = [
    ['dfs', 'shuttle dfs (no reduction)', () => new Exhaustive()],
    ['random', 'shuttle random', () => new RandomWalk(1)],
    ['pct', 'shuttle pct', (e) => new Pct({ seed: 1, depth: 3, steps: 16, tasks: e.taskCount })],
    ['partial-order', '', (e) => new PartialOrderSampling(1, e.taskCount)],
  ];
  const rows: Record<string, string>[] = [];
  for (const name of ['cas(2,3)', 'zap(2,1)', 'zap(3,1)', 'readers(4)', 'readers(8)', 'lastzero(5)']) {
    const row: Record<string, string> = { program: name };
    for (const [label, peer, policy] of policies) {
      const rate = rateOf(programOf(name), policy);
      const theirs = peers[peer]?.[name];
      row[label] =
        theirs === undefined
          ? thousands(rate)
          : `${thousands(rate)} (shuttle ${thousands(theirs)}, x${(rate / theirs).toFixed(1)})`;
    }
    rows.push(row);
  }
  console.log('Executions a second without reduction');
  console.table(rows);
}

async function compareCompletion(): Promise<void> {
  const peers: Record<string, Record<string, number | string>> = data.peersSecondsToCompletion;
  const traces: Rates = data.traces;
  const rows: Record<string, string | number>[] = [];
  for (const [name, theirs] of Object.entries(peers)) {
    const report = await explore(programOf(name));
    if (report.executions !== traces[name] || !report.complete)
      throw new Error(`${name}: ${report.executions} traces, not ${traces[name]}`);
    rows.push({
      program: name,
      traces: report.executions,
      'given up': report.blocked,
      seconds: report.seconds.toFixed(2),
      'traces a second': Math.round(report.executions / report.seconds),
      'GenMC s': theirs.GenMC,
      'Nidhugg s': theirs.Nidhugg ?? '-',
    });
  }
  console.log('Every trace, with optimal reduction');
  console.table(rows);
}

async function compareFirstFailure(): Promise<void> {
  const rows: Record<string, string | number>[] = [];
  for (const [name, bug] of [
    ['F=2,K=1', zap(2, 1, 0)],
    ['F=3,K=1', zap(3, 1, 0)],
  ] as const) {
    const row: Record<string, string | number> = { program: name };
    const search = await explore(bug, { shrink: false });
    row.exhaustive = search.findings[0].execution;
    for (const policy of ['random', 'pct', 'partial-order'] as const) {
      const found: number[] = [];
      for (let seed = 1; seed <= 101; seed++) {
        const report = await explore(bug, { policy, seed, executions: 100_000, shrink: false, repeatEvery: 0 });
        found.push(report.findings[0].execution + 1);
      }
      row[`${policy} (median)`] = found.sort((a, b) => a - b)[50];
    }
    const peers: Rates = (data.executionsToFirstFailure as unknown as Record<string, Rates>)[name];
    rows.push({
      ...row,
      peers: Object.entries(peers)
        .map(([who, n]) => `${who} ${n}`)
        .join(', '),
    });
  }
  console.log('Executions to the first failure: a zapper that leaves 0 instead of the frozen value');
  console.table(rows);
}

/** Processor time of this process, in seconds: the machine may be busy with other things. */
const processorSeconds = (): number => process.cpuUsage().user / 1e6;

/** Random executions a second of processor time, of whole VMs: with locks as single steps, and access by access. */
function scenarioRates(): void {
  const rows: Record<string, string | number>[] = [];
  for (const name of ['fault-against-zap-range', 'fault-against-fault', 'two-range-zaps', 'unmap-against-fault']) {
    const row: Record<string, string | number> = { scenario: name };
    for (const [label, whole] of [
      ['whole steps', true],
      ['access by access', false],
    ] as const) {
      const execution = new Execution(new VmProgram(loadScenario(name), { whole }));
      const sampler = new Sampler(execution, new RandomWalk(1));
      let best = 0;
      let steps = 0;
      for (let repeat = 0; repeat < REPEATS + 1; repeat++) {
        const start = processorSeconds();
        let executions = 0;
        steps = 0;
        while (processorSeconds() - start < 2 * MEASURE_S) {
          for (let i = 0; i < 50; i++, executions++) {
            sampler.run();
            steps += execution.length;
          }
        }
        best = Math.max(best, executions / (processorSeconds() - start));
        steps /= executions;
      }
      row[label] = `${Math.round(best)}/s (${Math.round(steps)} steps)`;
    }
    rows.push(row);
  }
  console.log('Random executions a second of whole VMs');
  console.table(rows);
}

/** Every trace of whole VMs. */
async function scenarioCompletion(): Promise<void> {
  const rows: Record<string, string | number>[] = [];
  for (const name of [
    'fault-against-fault',
    'fault-against-zap-range',
    'unmap-against-unrelated-fault',
    'write-against-get-log-pml',
  ]) {
    const start = processorSeconds();
    const report = await explore(new VmProgram(loadScenario(name)));
    const seconds = processorSeconds() - start;
    if (!report.complete || report.findings.length > 0) throw new Error(`${name}: not complete, or broken`);
    rows.push({
      scenario: name,
      traces: report.executions,
      'given up': report.blocked,
      states: report.states,
      'processor s': seconds.toFixed(2),
      'traces a second': Math.round(report.executions / seconds),
    });
  }
  console.log('Every trace of whole VMs, with optimal reduction');
  console.table(rows);
}

compareRates();
await compareCompletion();
await compareFirstFailure();
scenarioRates();
await scenarioCompletion();
