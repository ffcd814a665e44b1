/** Compares what calls returned. */
import type { OperationName } from '../script/vocabulary.ts';

/** Calls on host memory, and of other programs: all that they tell is whether they succeeded. */
const SUCCESS_ONLY: readonly OperationName[] = [
  'mem',
  'madvise',
  'mprotect',
  'munmap',
  'remap',
  'hosttouch',
  'shell',
  'param',
  'sys',
];
const FAILURE = /ret=-|errno=[1-9]|rc=[1-9]|SIG[A-Z]|fail/;

/** A result without the words for an errno, and without saying that there was none. */
function canonical(result: string): string {
  return result
    .replace(/\([A-Z][A-Za-z /]*\)/g, '')
    .replace(/ errno=0\b/g, '')
    .trim();
}

/** Whether two results of one operation say the same. */
export function sameResult(operation: OperationName, expected: string, got: string): boolean {
  if (SUCCESS_ONLY.includes(operation)) return FAILURE.test(expected) === FAILURE.test(got);
  return canonical(expected) === canonical(got);
}
