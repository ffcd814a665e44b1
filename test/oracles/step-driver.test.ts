/** The explorer drives step oracles: an execution under its scheduler is judged at every step. */
import { describe, expect, it } from 'vitest';
import { Execution } from '../../src/engines/explore/execution.ts';
import { toFinding } from '../../src/engines/explore/judge.ts';
import type { Program } from '../../src/engines/explore/program.ts';
import { SlotFlag } from '../../src/mmu/memslot.ts';
import { programHooks } from '../../src/oracles/step-driver.ts';
import type { StepWorld } from '../../src/oracles/step-world.ts';
import { stepOracles } from '../../src/oracles/steps/index.ts';
import { getDirtyLog } from '../../src/vm/dirty-log.ts';
import { vmConfig } from '../../src/vm/vm-config.ts';
import { VmLayout } from '../../src/vm/vm-layout.ts';
import { RAM, SMALL, VmMachine } from './vm-machine.ts';

const CONFIG = { ...SMALL, threads: 3 };

/** A vCPU writes pages of a slot that logs while its log is read. */
function program(bug: string | null): Program {
  let m: VmMachine | null = null;
  const machine = (): VmMachine => m as VmMachine;
  return {
    name: 'guest against GET',
    words: new VmLayout(vmConfig(CONFIG)).arenaWords,
    threads: [
      { name: 'vcpu 0', run: () => machine().guest(0, [0, 1, 17]) },
      { name: 'vcpu 1', run: () => machine().guest(1, [1]) },
      { name: 'ioctl', run: () => getDirtyLog(machine().ioctl, { slot: 0 }) },
    ],
    setup(memory) {
      const bugs = bug === null ? {} : { [bug]: true };
      const slots = [{ ...RAM, flags: SlotFlag.logDirty }];
      m = new VmMachine({ config: CONFIG, slots, bugs, watch: stepOracles(), memory: memory as VmMachine['memory'] });
      m.run(m.guest(0, [0, 1]));
    },
    ...programHooks(() => machine().world as StepWorld),
  };
}

/** One execution, each step by the next thread that can take one. */
function run(bug: string | null): string | null {
  const execution = new Execution(program(bug));
  try {
    execution.start();
    for (let turn = 0; !execution.complete; turn++) {
      const enabled = execution.listEnabled();
      execution.take(execution.enabledTasks[turn % enabled]);
    }
    execution.program.check?.(execution.memory.words);
  } catch (error) {
    return toFinding(error).rule;
  }
  return null;
}

describe('the explorer', () => {
  it('finds nothing wrong in a healthy MMU', () => {
    expect(run(null)).toBe(null);
  });

  it('ends an execution at the step that breaks a rule', () => {
    expect(run('harvest-without-flush-before-return')).toBe('flush-owed');
  });
});
