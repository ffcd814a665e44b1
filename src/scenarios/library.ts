/** The scenarios that come with the simulator: the script files beside this module, and those that a user names by file. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { readScriptText } from '../script/read-script.ts';
import { UsageError, unknownName } from '../workloads/usage-error.ts';
import { parseScenario, type Scenario } from './scenario.ts';

const SUFFIX = '.kt';
const FOLDER = 'src/scenarios';

/** The folder of the scenarios, wherever this module was bundled to. */
function folder(): string {
  for (let at = path.dirname(fileURLToPath(import.meta.url)); ; at = path.dirname(at)) {
    const found = path.join(at, FOLDER);
    if (existsSync(path.join(at, 'package.json')) && existsSync(found)) return found;
    if (path.dirname(at) === at) throw new UsageError(`the folder ${FOLDER} of the scenarios was not found`);
  }
}

/** Names of all scenarios, in alphabetical order. */
export function scenarioNames(): readonly string[] {
  return readdirSync(folder())
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .sort();
}

export function loadAllScenarios(): readonly Scenario[] {
  return scenarioNames().map(loadNamed);
}

function loadNamed(name: string): Scenario {
  const file = path.join(folder(), name + SUFFIX);
  return parseScenario(readFileSync(file, 'utf8'), name, `${name}${SUFFIX}`);
}

/** A scenario by name, or by the file of a script. Errors: UsageError with the nearest name; ScriptError. */
export function loadScenario(nameOrFile: string): Scenario {
  if (nameOrFile.endsWith(SUFFIX)) {
    return parseScenario(readScriptText(nameOrFile), path.basename(nameOrFile, SUFFIX), nameOrFile);
  }
  const names = scenarioNames();
  if (!names.includes(nameOrFile)) throw unknownName('scenario', nameOrFile, names);
  return loadNamed(nameOrFile);
}
