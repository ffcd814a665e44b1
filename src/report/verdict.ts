/**
 * The last line of every run, and the process's exit code: whether what must hold did.
 */
import { ExitCode } from '../engines/threads/result.ts';
import type { Violation } from '../oracles/oracle.ts';
import type { Examination, RunOutcome } from './outcome.ts';

export interface Verdict {
  readonly kind: 'PASS' | 'FAIL' | 'INCOMPLETE';
  /** What follows the kind. */
  readonly text: string;
  readonly exitCode: number;
}

export const violationsOf = (examinations: readonly Examination[]): Violation[] =>
  examinations.flatMap(({ reports }) => reports.flatMap(({ violations }) => violations));

const totalOf = (examinations: readonly Examination[]): number =>
  examinations.reduce((sum, { reports }) => sum + reports.reduce((n, { total }) => n + total, 0), 0);

export function verdictOf(outcome: RunOutcome): Verdict {
  const { result, examinations } = outcome;
  const total = totalOf(examinations);
  if (result.exitCode === ExitCode.broken) return { kind: 'FAIL', text: result.reason, exitCode: ExitCode.broken };
  if (total > 0) {
    const [first] = violationsOf(examinations);
    const more = total > 1 ? ` (and ${total - 1} more)` : '';
    return { kind: 'FAIL', text: `${first.oracle}: ${first.rule}: ${first.message}${more}`, exitCode: ExitCode.broken };
  }
  if (!result.complete) {
    return { kind: result.exitCode === ExitCode.stalled ? 'FAIL' : 'INCOMPLETE', text: result.reason, exitCode: result.exitCode };
  }
  const early = outcome.timeOver ? '; ended by --duration' : '';
  if (examinations.length === 0) {
    return { kind: 'PASS', text: `the run came to its end; no oracle looked at it${early}`, exitCode: ExitCode.held };
  }
  const oracles = examinations[examinations.length - 1].reports.length;
  const checkpoints = examinations.length - 1;
  const where = checkpoints > 0 ? `at ${checkpoints} checkpoint${checkpoints === 1 ? '' : 's'} and at the end` : 'at the end';
  return { kind: 'PASS', text: `${oracles} oracles found nothing wrong ${where}${early}`, exitCode: ExitCode.held };
}

export const verdictLine = ({ kind, text }: Verdict): string => `${kind}: ${text}`;
