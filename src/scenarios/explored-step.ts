/** Finding the step of a script that the explorer takes over, and refusing scripts that have none, or several. */
import type { Script, ScriptStep } from '../script/script.ts';
import { ScriptError } from '../script/script-error.ts';

/** Index of the one step in which threads run side by side. Errors: ScriptError. */
export function checkMayExplore(script: Script, steps: readonly ScriptStep[]): number {
  const found = steps.flatMap((step, i) => (step.threads.length > 1 ? [i] : []));
  if (found.length === 1) return found[0];
  const allowed = ["'thread NAME', its operations, another 'thread NAME', its operations"];
  if (found.length === 0) {
    throw new ScriptError({ file: script.file, line: 0, message: 'no threads run side by side: nothing to explore', allowed });
  }
  const { line } = steps[found[1]];
  throw new ScriptError({ file: script.file, line, message: 'a scenario has one step with threads side by side', allowed });
}
