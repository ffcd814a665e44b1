/**
 * `tdpsim compare A.json B.json`: two runs that `stress` or `simulate` wrote, side by side.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type ComparedRun, compareRuns } from '../../report/compare.ts';
import { SCHEMA_VERSION } from '../../report/json.ts';
import { UsageError, unreadableText } from '../../workloads/usage-error.ts';
import type { CliCommand } from '../command.ts';

export const compare: CliCommand = {
  register(program, { print }) {
    program
      .command('compare')
      .description('show two runs side by side, with ratios')
      .argument('<a>', 'JSON of a run: what --json wrote')
      .argument('<b>', 'JSON of another run')
      .action((a: string, b: string) => {
        const [first, second] = [a, b].map(readRun);
        if (first.workload !== second.workload) {
          print(`different workloads: ${first.workload} and ${second.workload}`);
        }
        if (first.engine !== second.engine) print(`different clocks: ${first.engine} and ${second.engine}`);
        for (const line of compareRuns([path.basename(a), path.basename(b)], first, second)) print(line);
      });
  },
};

/** Errors: UsageError for a file that is not the record of a run. */
function readRun(file: string): ComparedRun {
  let json: Partial<ComparedRun> & { schema?: string; schemaVersion?: number };
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UsageError(`${file}: ${unreadableText(code, "a run's JSON") ?? `is no JSON: ${message}`}`);
  }
  if (json === null || json.schema !== 'tdpsim-run' || json.measurement === undefined) {
    throw new UsageError(`${file}: is not the record of a run: give what stress --json or simulate --json wrote`);
  }
  if (json.schemaVersion !== SCHEMA_VERSION) {
    throw new UsageError(`${file}: has schema version ${json.schemaVersion}; this program reads ${SCHEMA_VERSION}`);
  }
  return json as ComparedRun;
}
