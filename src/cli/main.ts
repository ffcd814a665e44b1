/**
 * The command line: exit codes 0 (held), 1 (usage), 127 (an invariant broke), 128 (no progress), 130 (interrupted).
 */
import { Command, CommanderError } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { styleOf } from '../report/style.ts';
import { UsageError } from '../workloads/usage-error.ts';
import type { Surroundings } from './command.ts';
import { COMMANDS } from './commands/index.ts';

const EXIT_USAGE = 1;
const EXIT_INTERRUPTED = 130;

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // Whoever asks twice does not want to wait for a report.
    if (interruption.signal.aborted) process.exit(EXIT_INTERRUPTED);
    interruption.abort();
  });
}

// `tdpsim stress … | head`: nobody reads any more, which is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

const surroundings: Surroundings = {
  print: (line) => process.stdout.write(`${line}\n`),
  style: styleOf(process.stdout, process.env),
  progress: (text) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  },
  signal: interruption.signal,
  setExitCode: (code) => {
    process.exitCode = code;
  },
};

/** Mistakes are told in one line, by {@link complain}; help goes where it is asked for. */
function tame(command: Command): void {
  command.exitOverride().configureOutput({ writeErr: () => {}, outputError: () => {} });
  for (const child of command.commands) tame(child);
}

const program = new Command('tdpsim').description(manifest.description).version(manifest.version);
for (const command of COMMANDS) command.register(program, surroundings);
tame(program);

/** What commander says of a mistake; of an unknown command that is near to none, with all that there are. */
function mistakeText({ code, message }: CommanderError): string {
  if (code !== 'commander.unknownCommand' || message.includes('Did you mean')) return message;
  const unknownHere = message.includes(`'${process.argv[2]}'`);
  return unknownHere ? `${message}: there are ${program.commands.map((command) => command.name()).join(', ')}` : message;
}

/** One line on stderr. */
function complain(message: string): void {
  process.stderr.write(`tdpsim: ${message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ')}\n`);
  process.exitCode = EXIT_USAGE;
}

try {
  if (process.argv.length <= 2) program.outputHelp();
  else await program.parseAsync();
} catch (error) {
  if (error instanceof UsageError) complain(error.message);
  else if (error instanceof CommanderError) {
    if (error.exitCode !== 0) complain(mistakeText(error));
  } else throw error;
}
