/** What user space calls, as a trace shows it: ioctls at their entry and at their return. */
import type { Operation, Values } from '../vocabulary.ts';
import type { TraceText } from './trace-formats.ts';

const PAGE_BYTES = 4096;
const SET_REGION = '0x40a0ae49';
const GET_LOG = '0x4010ae42';
const CLEAR_LOG = '0xc018aec0';
const CREATE_VCPU = '0xae41';
const ENABLE_CAP = '0x4068aea3';
const CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168;
const CAP_DISABLE_QUIRKS2 = 213;
const READ_OF_VM = '(kvm_vm_ioctl+0x4/0x18b0 [kvm])';
const RETURN_OF_VM = '(__x64_sys_ioctl+0x94/0xc0 <- kvm_vm_ioctl)';
/** The file descriptor of the first vCPU. */
const FIRST_FD = 5;
const KVM = 'kvm=0xffffc9000057d000';

/** A slot as user space knows it. */
interface Slot {
  readonly gfn: number;
  readonly npages: number;
  readonly flags: number;
  readonly hva: number;
}

const hex = (n: number): string => `0x${n.toString(16)}`;
/** Slot and address space in one number, as the ioctls take it. */
const slotNumber = (id: number, as: number): number => as * 0x10000 + id;
const done = (cmd: string, ret: number): TraceText => ['ioctl_done', `${RETURN_OF_VM} cmd=${cmd} ret=${ret}`];

/** What an operation's result says that the ioctl returned. */
function returned(said: string): number {
  const match = /errno=(\d+)/.exec(said);
  return match === null ? 0 : -Number(match[1]);
}

export interface TraceCallsOptions {
  /** Host virtual address of a byte of a memory. */
  readonly hva: (memory: string, offset: number) => number;
  /** The slot of the guest's code; null: there is none. */
  readonly codeSlot: Values<'slot'> | null;
}

export class TraceCalls {
  readonly #options: TraceCallsOptions;
  readonly #slots = new Map<number, Slot>();

  constructor(options: TraceCallsOptions) {
    this.#options = options;
  }

  /** An operation begins. */
  begin(operation: Operation): readonly TraceText[] {
    const call = this.#call(operation);
    return call === null ? [] : [call.entry];
  }

  /** It has ended, and `said` something. */
  end(operation: Operation, said: string): readonly TraceText[] {
    if (operation.op === 'vm') return this.#createVm(operation.values);
    if (operation.op === 'destroy') return [['vm_destroy', `(kvm_arch_destroy_vm+0x4/0x1b0 [kvm]) ${KVM}`]];
    if (operation.op === 'param') return [['tracing_mark_write', parameterText(operation.values)]];
    const call = this.#call(operation);
    if (call === null) return [];
    const ret = returned(said);
    if (ret === 0) call.apply?.();
    return [done(call.cmd, ret)];
  }

  /** A module parameter that was written before there was a VM. */
  static parameter(values: Values<'param'>): string {
    return parameterText(values);
  }

  #createVm({ vcpus, manual, disable_quirks: quirks }: Values<'vm'>): readonly TraceText[] {
    const { codeSlot } = this.#options;
    const lines: TraceText[] = [];
    if (codeSlot !== null) {
      const operation = { op: 'slot', line: 0, values: codeSlot } as const;
      lines.push(...this.begin(operation), ...this.end(operation, ''));
    }
    const enable = (cap: number, arg: number): void => {
      lines.push(['ioctl_enable_cap', `${READ_OF_VM} cmd=${ENABLE_CAP} cap=${cap} arg0=${hex(arg)}`], done(ENABLE_CAP, 0));
    };
    if (manual > 0) enable(CAP_MANUAL_DIRTY_LOG_PROTECT2, manual);
    if (quirks > 0) enable(CAP_DISABLE_QUIRKS2, quirks);
    for (let id = 0; id < vcpus; id++) {
      lines.push(['ioctl_create_vcpu', `${READ_OF_VM} cmd=${CREATE_VCPU} id=${id}`]);
      lines.push(['kvmptr', `(kvm_arch_vcpu_precreate+0x4/0x80 [kvm]) ${KVM}`]);
      lines.push(done(CREATE_VCPU, FIRST_FD + id));
    }
    return lines;
  }

  #call(operation: Operation): { entry: TraceText; cmd: string; apply?: () => void } | null {
    switch (operation.op) {
      case 'slot': {
        const { id, as, gfn, npages, mem, off, flags } = operation.values;
        return this.#region(slotNumber(id, as), { gfn, npages, flags, hva: this.#options.hva(mem, off) });
      }
      case 'setflags':
        return this.#change(operation.values, { flags: operation.values.flags });
      case 'moveslot':
        return this.#change(operation.values, { gfn: operation.values.gfn });
      case 'delslot':
        return this.#change(operation.values, { npages: 0 });
      case 'getlog': {
        const slot = slotNumber(operation.values.id, operation.values.as);
        return { entry: ['ioctl_get_dirty_log', `${READ_OF_VM} cmd=${GET_LOG} slot=${slot}`], cmd: GET_LOG };
      }
      case 'clearlog': {
        const { id, as, first, n } = operation.values;
        const text = `${READ_OF_VM} cmd=${CLEAR_LOG} slot=${slotNumber(id, as)} num_pages=${n} first_page=${first}`;
        return { entry: ['ioctl_clear_dirty_log', text], cmd: CLEAR_LOG };
      }
      default:
        return null;
    }
  }

  #change({ id, as }: { id: number; as: number }, change: Partial<Slot>) {
    const number = slotNumber(id, as);
    const slot = this.#slots.get(number) ?? { gfn: 0, npages: 0, flags: 0, hva: 0 };
    return this.#region(number, { ...slot, ...change });
  }

  #region(number: number, slot: Slot) {
    const { gfn, npages, flags, hva } = slot;
    const place = `gpa=${hex(gfn * PAGE_BYTES)} size=${hex(npages * PAGE_BYTES)} hva=${hex(hva)}`;
    const entry: TraceText = ['ioctl_memslot', `${READ_OF_VM} cmd=${SET_REGION} slot=${number} flags=${hex(flags)} ${place}`];
    const apply = (): void => {
      this.#slots.set(number, slot);
    };
    return { entry, cmd: SET_REGION, apply };
  }
}

/** `eager_page_split=N`: as recorders note it. */
function parameterText({ path, value }: Values<'param'>): string {
  const letter = { '1': 'Y', '0': 'N', on: 'Y', off: 'N', y: 'Y', n: 'N' }[value] ?? value;
  return `${path.slice(path.lastIndexOf('/') + 1)}=${letter}`;
}
