/** `expect` at the end of an execution: what a scenario demands of the state that it has reached, whatever the schedule. */
import { hex64 } from '../machine/word64.ts';
import { asGfn } from '../mmu/level.ts';
import { leafAt } from '../oracles/cached-translations.ts';
import { hex } from '../oracles/oracle.ts';
import { spteBits } from '../script/record/spte-run.ts';
import type { Values } from '../script/vocabulary.ts';
import type { ScenarioMachine } from './scenario-machine.ts';

/** Checks one expectation; returns why it does not hold, or null. What needs a recording is not known here. */
export function checkExpectation(machine: ScenarioMachine, expect: Values<'expect'>, result = ''): string | null {
  const { gfn = 0, level, bits } = expect;
  const vcpu = machine.vcpus.find(({ mmu }) => mmu.root !== 0 && mmu.asId === expect.as);
  const leaf = vcpu === undefined ? null : leafAt(vcpu, vcpu.mmu.root, asGfn(gfn));
  switch (expect.what) {
    case 'mapped':
      if (leaf === null) return `gfn ${hex(gfn)} is not mapped`;
      if (level !== undefined && leaf.level !== level) return `gfn ${hex(gfn)} is mapped at level ${leaf.level}, not ${level}`;
      if (bits !== undefined && hex64(spteBits(leaf.spte)) !== bits)
        return `gfn ${hex(gfn)} has bits ${hex64(spteBits(leaf.spte))}`;
      return null;
    case 'unmapped':
      return leaf === null ? null : `gfn ${hex(gfn)} is mapped: ${leaf.spte} at level ${leaf.level}`;
    case 'result': {
      const wanted = expect.is ?? 'ok';
      return result === wanted || result.split(' ').includes(wanted) ? null : `the last result is '${result}', not '${wanted}'`;
    }
    default:
      return `'expect ${expect.what}' cannot be asked of an execution of the explorer`;
  }
}
