/** The smallest scenarios are proved: every interleaving of them is explored, and none breaks a rule. */
import { expect, it } from 'vitest';
import { explore } from '../../src/engines/explore/explore.ts';
import { COMPLETE_EXECUTIONS } from '../../src/scenarios/complete.ts';
import { loadScenario } from '../../src/scenarios/library.ts';
import { VmProgram } from '../../src/scenarios/vm-program.ts';

it.each(Object.entries(COMPLETE_EXECUTIONS))('%s holds in all of its %i executions', async (name, executions) => {
  const report = await explore(new VmProgram(loadScenario(name)), { policy: 'exhaustive', repeatEvery: 0 });
  expect(report.findings).toEqual([]);
  expect(report).toMatchObject({ complete: true, executions, blocked: 0 });
});
