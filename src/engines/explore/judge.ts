/** Turns what an execution did into a finding: a thrown error, or the verdict of the program's check. */
import type { Execution } from './execution.ts';
import type { Finding } from './program.ts';

/** A thrown error as data. The rule of an `InvariantError` is its own; any other error is an `exception`. */
export function toFinding(error: unknown): Finding {
  if (error instanceof Error) {
    const { rule } = error as { rule?: unknown };
    if (typeof rule === 'string') return { rule, message: error.message };
    return { rule: 'exception', message: `${error.name}: ${error.message}` };
  }
  return { rule: 'exception', message: String(error) };
}

/** What the program's check says of a complete execution. */
export function judge(execution: Execution): Finding | null {
  const { program } = execution;
  if (program.check === undefined) return null;
  try {
    const verdict = program.check(execution.memory.words);
    if (verdict === null || verdict === undefined) return null;
    return typeof verdict === 'string' ? { rule: 'check', message: verdict } : verdict;
  } catch (error) {
    return toFinding(error);
  }
}
