/** The VM of the sequence, made and opened in any memory. */
import { COUNTER_SLOTS } from '../../../src/machine/counters.ts';
import type { Memory } from '../../../src/machine/memory.ts';
import type { ThreadEnvironment } from '../../../src/machine/thread.ts';
import { createVm, openVm, type Vm } from '../../../src/vm/vm.ts';
import { type VmConfig, vmConfig } from '../../../src/vm/vm-config.ts';

export function openSequenceVm(
  memory: Memory,
  options: Partial<VmConfig>,
  environment?: ThreadEnvironment,
): { vm: Vm; counters: Float64Array } {
  const counters = environment?.counters ?? new Float64Array(COUNTER_SLOTS);
  const layout = createVm(memory, vmConfig(options));
  const own = { memory, now: () => 0, needResched: () => false, counters, probe: null };
  return { vm: openVm({ layout, threadId: 0, environment: environment ?? own }), counters };
}
