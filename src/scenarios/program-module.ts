/** The module from which the explorer's workers load scenarios: its bundle shares the scheduling points with theirs. */
import type { Program } from '../engines/explore/program.ts';
import type { BugSwitches } from '../mmu/bug-switches.ts';
import { parseScenario } from './scenario.ts';
import { VmProgram } from './vm-program.ts';

/** What a worker needs to make the program of a scenario for itself. */
export interface ScenarioText {
  readonly name: string;
  readonly file: string;
  readonly text: string;
  readonly bugs: BugSwitches;
}

export default function scenarioProgram({ name, file, text, bugs }: ScenarioText): Program {
  return new VmProgram(parseScenario(text, name, file), { bugs });
}
