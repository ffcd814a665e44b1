/**
 * `npm run mutants [-- NAME...]`: puts each mutant into the simulator and hunts it as a historical bug is hunted. The last line says
 * how many were caught; a mutant that is not, and not known to be equivalent, is a rule that no oracle watches or no scenario breaks.
 */
import { MUTANTS } from './mutants.ts';
import { huntMutant } from './mutate.ts';

/** Random schedules find what is everywhere, PCT what needs one thread to be late, exhaustion what needs few switches. */
const POLICIES = [
  { policy: 'pct', executions: 2000, seconds: 120 },
  { policy: 'random', executions: 2000, seconds: 120 },
  { policy: 'partial-order', executions: 2000, seconds: 120 },
  { policy: 'exhaustive', seconds: 15 },
] as const;

const asked = process.argv.slice(2);
const unknown = asked.find((id) => !MUTANTS.some((mutant) => mutant.id === id));
if (unknown !== undefined) {
  console.error(`no mutant ${unknown}: they are in test/mutation/mutants.json`);
  process.exit(1);
}
const mutants = MUTANTS.filter(({ id }) => asked.length === 0 || asked.includes(id));
const survivors: string[] = [];
let caught = 0;
for (const mutant of mutants) {
  const result = await huntMutant(mutant, mutant.equivalent === undefined ? POLICIES : POLICIES.slice(0, 1));
  const how =
    result.caught === null
      ? `SURVIVES ${result.executions} executions${mutant.equivalent === undefined ? '' : `: ${mutant.equivalent}`}`
      : `${result.caught.rule} in ${result.caught.scenario} (${result.policy}, ${result.executions} executions)`;
  console.log(`${mutant.id}: ${how}`);
  if (result.caught !== null) caught++;
  else if (mutant.equivalent === undefined) survivors.push(mutant.id);
}
const equivalent = mutants.length - caught - survivors.length;
console.log(
  `${caught} of ${mutants.length} caught, ${equivalent} equivalent, ${survivors.length} survive: ${survivors.join(', ') || 'none'}`,
);
if (survivors.length > 0) process.exitCode = 127;
