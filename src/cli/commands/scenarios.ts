/**
 * `tdpsim scenarios`: the small programs that the explorer runs, with their size.
 */
import { Execution } from '../../engines/explore/execution.ts';
import { Sampler } from '../../engines/explore/sampler.ts';
import { RoundRobin } from '../../engines/explore/schedulers/round-robin.ts';
import { heading } from '../../report/style.ts';
import { table } from '../../report/table.ts';
import { loadAllScenarios } from '../../scenarios/library.ts';
import type { Scenario } from '../../scenarios/scenario.ts';
import { VmProgram } from '../../scenarios/vm-program.ts';
import type { CliCommand } from '../command.ts';

interface ScenarioSize {
  readonly name: string;
  readonly pits: string;
  readonly threads: readonly string[];
  /** Steps of one execution, with the threads in turns. */
  readonly steps: number;
  /** Kilobytes of the arena. */
  readonly arenaKb: number;
}

export const scenarios: CliCommand = {
  register(program, { print, style }) {
    program
      .command('scenarios')
      .description('list the scenarios of the explorer: what each pits against what, and its size')
      .option('--json', 'as JSON')
      .action(({ json }: { json?: true }) => {
        const sizes = loadAllScenarios().map(sizeOf);
        if (json) {
          print(JSON.stringify(sizes, null, 1));
          return;
        }
        const columns = [
          { title: 'scenario', align: 'left' },
          { title: 'threads' },
          { title: 'steps' },
          { title: 'KB' },
        ] as const;
        const rows = sizes.map(({ name, threads, steps, arenaKb }) => [name, `${threads.length}`, `${steps}`, `${arenaKb}`]);
        const [head, ...lines] = table(columns, rows);
        print(heading(style, head));
        for (const [i, line] of lines.entries()) {
          print(line);
          print(`    ${sizes[i].pits}`);
        }
      });
  },
};

function sizeOf(scenario: Scenario): ScenarioSize {
  const program = new VmProgram(scenario);
  const execution = new Execution(program);
  new Sampler(execution, new RoundRobin(1)).run();
  const { name, pits } = scenario;
  const threads = program.threads.filter(({ daemon }) => daemon !== true).map((thread) => thread.name);
  return { name, pits, threads, steps: execution.length, arenaKb: Math.ceil(program.words / 256) };
}
