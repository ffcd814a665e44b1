/**
 * What a command of the CLI is: one file each in `commands/`, listed in `commands/index.ts`.
 */
import type { Command } from 'commander';
import type { Style } from '../report/style.ts';

/** Where a command writes, and how it learns that it is to stop. */
export interface Surroundings {
  /** Results: a line. */
  print(line: string): void;
  /** How results may look. */
  readonly style: Style;
  /** Shows what is going on, on a terminal only: each text replaces the one before; empty: none. */
  progress(text: string): void;
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** What the process ends with. */
  setExitCode(code: number): void;
}

export interface CliCommand {
  /** Adds the command to `program`. */
  register(program: Command, surroundings: Surroundings): void;
}
