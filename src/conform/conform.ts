/**
 * Conformance: runs the script of a recording under the kernel generation that the recording names, and compares what
 * happens, phase by phase, with what happened.
 */
import { RUN_DEFAULTS, ScriptRunner } from '../script/run-script.ts';
import { conformRace } from './conform-race.ts';
import { type ConformResult, isConcurrent, type Mismatch, PhaseComparer } from './phase-comparer.ts';
import type { Recording } from './recording.ts';

/** Compares a recording with the simulator; stops at the first difference. */
export function conformRecording(recording: Recording): ConformResult {
  return recording.script.phases.some(isConcurrent) ? conformRace(recording) : conformSequence(recording);
}

/** Nothing runs side by side: there is one run that can match. */
function conformSequence(recording: Recording): ConformResult {
  const { file, kernel, script } = recording;
  const options = { ...RUN_DEFAULTS, kernel: recording.generation, flushOnEntry: true, needbreak: false };
  const runner = new ScriptRunner(script, options);
  const comparer = new PhaseComparer(runner, script);
  let mismatch: Mismatch | null = null;
  for (const [n, phase] of script.phases.entries()) {
    mismatch = comparer.compare(phase, recording.phases[n], runner.runPhase(phase, n));
    if (mismatch !== null) break;
  }
  return { file, kernel, phases: script.phases.length, mismatch };
}
