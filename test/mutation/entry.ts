/** What a mutant's bundle exports: a hunt through scenarios with the faulty source that the bundle was made of. */
import { type HuntOptions, type HuntResult, hunt } from '../../src/bugs/hunt.ts';
import { parseScenario } from '../../src/scenarios/scenario.ts';

export interface ScenarioFile {
  readonly name: string;
  readonly text: string;
}

export function huntIn(scenarios: readonly ScenarioFile[], options: Partial<HuntOptions>): Promise<HuntResult> {
  const parsed = scenarios.map(({ name, text }) => parseScenario(text, name, `${name}.kt`));
  return hunt(parsed, {}, options);
}
