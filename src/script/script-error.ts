/**
 * A mistake in a script or a recording: one line that says where it is, what is wrong, and what would be right.
 */
import { UsageError } from '../workloads/usage-error.ts';

export interface ScriptErrorOptions {
  /** As the user named it. */
  readonly file: string;
  /** From 1; 0 where the mistake is not in one line. */
  readonly line: number;
  readonly message: string;
  /** What could stand there instead. */
  readonly allowed?: readonly string[];
}

/** `file:line: message (allowed: …)`. */
export class ScriptError extends UsageError {
  readonly file: string;
  readonly line: number;

  constructor(options: ScriptErrorOptions) {
    const { file, line, message, allowed = [] } = options;
    const place = line > 0 ? `${file}:${line}` : file;
    super(`${place}: ${message}${allowed.length > 0 ? ` (allowed: ${allowed.join(', ')})` : ''}`);
    this.file = file;
    this.line = line;
  }
}

/** An expectation of a script that does not hold: no mistake of the script's, but a finding. */
export class ExpectationError extends Error {
  override readonly name = 'ExpectationError';

  constructor({ file, line, message }: ScriptErrorOptions) {
    super(`${file}:${line}: expectation failed: ${message}`);
  }
}
