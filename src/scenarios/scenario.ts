/**
 * A scenario: a script with one step whose threads the explorer interleaves. What stands before that step sets the VM up, once;
 * what stands behind it runs at the end of every execution, alone.
 */

import { parseScript } from '../script/parse.ts';
import type { Script, ScriptStep } from '../script/script.ts';
import { checkMayExplore } from './explored-step.ts';

export interface Scenario {
  /** The name of its file, without the suffix. */
  readonly name: string;
  /** What is pitted against what: the first comment of the script. */
  readonly pits: string;
  readonly script: Script;
  /** Steps that run alone, before the explored one. */
  readonly setup: readonly ScriptStep[];
  readonly explored: ScriptStep;
  /** Steps that run alone, behind the explored one. */
  readonly after: readonly ScriptStep[];
  /** The text, for the fingerprint of replay tokens. */
  readonly text: string;
}

/** Reads a scenario from the text of a script. Errors: ScriptError. */
export function parseScenario(text: string, name: string, file: string): Scenario {
  const script = parseScript(text, file);
  const steps = script.phases.flatMap((phase) => phase.steps);
  const at = checkMayExplore(script, steps);
  return {
    name,
    pits: firstComment(text),
    script,
    setup: steps.slice(0, at),
    explored: steps[at],
    after: steps.slice(at + 1),
    text,
  };
}

/** The lines of the comment that the text begins with, as one. */
function firstComment(text: string): string {
  const lines: string[] = [];
  for (const line of text.split('\n')) {
    const match = /^#\s?(.*)$/.exec(line.trim());
    if (match === null) break;
    lines.push(match[1]);
  }
  return lines.join(' ').trim();
}
