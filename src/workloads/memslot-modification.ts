/**
 * The workload `memslot-modification`: memslot_modification_stress_test.
 */
import { memstressWorkload } from './memstress-workload.ts';
import { flagOf } from './option.ts';
import { tookLine } from './selftest-time.ts';

export const memslotModification = memstressWorkload({
  name: 'memslot-modification',
  summary: 'a slot comes and goes while vCPUs use others: each deletion zaps all roots',
  selftest: 'memslot_modification_stress_test',
  iterations: { default: 10, help: 'number of times a slot is added and deleted' },
  options: [
    {
      key: 'quirkOff',
      letter: 'q',
      long: 'disable-zap-quirk',
      kind: 'flag',
      help: 'disable KVM_X86_QUIRK_SLOT_ZAP_ALL: deleting a slot zaps its own leaves only',
    },
  ],
  programs: { vcpu: 'stress-vcpu', ioctl: 'memslot-modification-ioctl' },
  params: (options) => ({ slotZapAll: flagOf(options, 'quirkOff') ? 0 : 1 }),
  copies: 4,
  notes: (options) => [`Memslot zap quirk ${flagOf(options, 'quirkOff') ? 'disabled' : 'enabled'}`],
  lines({ phases: { add = [], delete: deleted = [] } }) {
    return [
      ...(add.length > 0 ? [tookLine(`Adding the slot ${add.length} times`, add)] : []),
      ...(deleted.length > 0 ? [tookLine(`Deleting the slot ${deleted.length} times`, deleted)] : []),
    ];
  },
});
