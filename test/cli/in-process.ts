/** Runs a command of the CLI in the process of the test: what it printed, and what it ended with. */
import { Command } from 'commander';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { PLAIN } from '../../src/report/style.ts';
import { UsageError } from '../../src/workloads/usage-error.ts';

export interface Ran {
  readonly out: readonly string[];
  readonly code: number;
  /** The one line of a mistake, or empty. */
  readonly error: string;
}

export async function runCommand(args: readonly string[]): Promise<Ran> {
  const out: string[] = [];
  let code = 0;
  const program = new Command('tdpsim');
  for (const command of COMMANDS) {
    command.register(program, {
      print: (line) => out.push(line),
      style: PLAIN,
      progress: () => {},
      signal: new AbortController().signal,
      setExitCode: (value) => {
        code = value;
      },
    });
  }
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof UsageError) return { out, code: 1, error: error.message };
    throw error;
  }
  return { out, code, error: '' };
}
