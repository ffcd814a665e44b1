/**
 * `tdpsim litmus FILE.json`: memory-model litmus tests under sequential consistency and x86's store buffers.
 */
import { readFileSync } from 'node:fs';
import { runLitmus } from '../../engines/explore/litmus.ts';
import { LitmusError, parseLitmus } from '../../engines/explore/litmus-format.ts';
import { table } from '../../report/table.ts';
import { UsageError } from '../../workloads/usage-error.ts';
import type { CliCommand } from '../command.ts';

const EXIT_BROKEN = 127;

export const litmus: CliCommand = {
  register(program, { print, setExitCode }) {
    program
      .command('litmus')
      .argument('<file>', 'tests in JSON: see the documentation of the format in the file that comes with the tests')
      .description('run litmus tests by exhaustive exploration and compare with the verdicts that the file gives')
      .option('--json', 'as JSON')
      .action((file: string, { json }: { json?: true }) => {
        const results = read(file).map(runLitmus);
        if (json) {
          print(JSON.stringify(results, null, 1));
        } else {
          const columns = ['test', 'SC', 'states', 'TSO', 'states', 'agrees'].map((title, i) => ({
            title,
            align: i === 0 || title === 'agrees' ? ('left' as const) : ('right' as const),
          }));
          const rows = results.map(({ name, SC: sc, TSO: tso, agrees }) => [
            name,
            sc.verdict,
            `${sc.states}`,
            tso.verdict,
            `${tso.states}`,
            agrees === null ? '-' : agrees ? 'yes' : 'NO',
          ]);
          for (const line of table(columns, rows)) print(line);
        }
        const wrong = results.filter(({ agrees }) => agrees === false).length;
        if (wrong > 0) setExitCode(EXIT_BROKEN);
        if (!json)
          print(wrong === 0 ? `PASS: ${results.length} tests agree` : `FAIL: ${wrong} of ${results.length} tests differ`);
      });
  },
};

function read(file: string): ReturnType<typeof parseLitmus> {
  try {
    return parseLitmus(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof LitmusError || (error as NodeJS.ErrnoException).code !== undefined) {
      throw new UsageError(`litmus: ${file}: ${(error as Error).message}`);
    }
    throw error;
  }
}
