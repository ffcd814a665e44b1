/** The list of mutants fits the sources, and a few of them are caught; `npm run mutants` hunts all. */
import { describe, expect, it } from 'vitest';
import { MUTANTS } from './mutants.ts';
import { huntMutant, occurrences } from './mutate.ts';

describe('mutants', () => {
  it('have a place each that occurs once in the sources', () => {
    expect(new Set(MUTANTS.map(({ id }) => id)).size).toBe(MUTANTS.length);
    const stale = MUTANTS.filter((mutant) => occurrences(mutant) !== 1 || mutant.find === mutant.replace);
    expect(stale.map(({ id }) => id)).toEqual([]);
  });

  it.each(['zap-range-no-flush', 'fault-does-not-mark', 'split-children-off-by-one', 'leaf-over-table-without-flush'])(
    '%s is caught',
    async (id) => {
      const mutant = MUTANTS.find((m) => m.id === id)!;
      const { caught } = await huntMutant(mutant, [{ policy: 'pct', executions: 500 }]);
      expect(caught).not.toBeNull();
    },
  );
});
