/**
 * The workload `memslot-modification`: memslot_modification_stress_test.
 */
import {
  backingOption,
  bytesOption,
  crew,
  delayOption,
  iterationsOption,
  memstressNotes,
  memstressPlan,
  overlapOption,
  vcpusOption,
} from './memstress-plan.ts';
import { flagOf, numberOf, type OptionTable } from './option.ts';
import { seconds, sumOf } from './selftest-time.ts';
import type { Workload } from './workload.ts';

const OPTIONS: OptionTable = [
  vcpusOption(),
  bytesOption(),
  iterationsOption(10, 'number of times a slot is added and deleted'),
  backingOption,
  overlapOption,
  delayOption,
  {
    key: 'quirkOff',
    letter: 'q',
    long: 'disable-zap-quirk',
    kind: 'flag',
    help: 'disable KVM_X86_QUIRK_SLOT_ZAP_ALL: deleting a slot zaps its own leaves only',
  },
];

export const memslotModification: Workload = {
  name: 'memslot-modification',
  summary: 'a slot comes and goes while vCPUs use others: each deletion zaps all roots',
  selftest: 'memslot_modification_stress_test',
  options: OPTIONS,
  async plan(options, common) {
    const plan = memstressPlan({
      workload: 'memslot-modification',
      options,
      common,
      threads: crew(numberOf(options, 'vcpus'), { vcpu: 'stress-vcpu', ioctl: 'memslot-modification-ioctl' }),
      params: { slotZapAll: flagOf(options, 'quirkOff') ? 0 : 1 },
      copies: 4,
    });
    return {
      plan,
      notes: [...memstressNotes(plan), `Memslot zap quirk ${flagOf(options, 'quirkOff') ? 'disabled' : 'enabled'}`],
    };
  },
  lines({ phases }) {
    const { add = [], delete: deleted = [] } = phases;
    const line = (what: string, times: readonly number[]): string =>
      `${what} the slot ${times.length} times took ${seconds(sumOf(times))}s. (Avg ${seconds(sumOf(times) / times.length)}s)`;
    return [...(add.length > 0 ? [line('Adding', add)] : []), ...(deleted.length > 0 ? [line('Deleting', deleted)] : [])];
  },
};
