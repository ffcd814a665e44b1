/**
 * The words of the scenario language: every operation with its parameters, in one table from which come the parser, its
 * messages, the types of the interpreter and the check that the reference names them all.
 *
 * The operations of the first part are those of the recorded scripts, word for word.
 */

/**
 * What a parameter takes: `number` decimal or 0x hexadecimal; `size` a number of bytes, K, M and G allowed; `word` one word;
 * `rest` the rest of the line.
 */
export type ParameterKind = 'number' | 'size' | 'word' | 'rest';

export interface Parameter {
  readonly name: string;
  readonly kind: ParameterKind;
  /** Taken where the script does not give it; without one the parameter must be given, unless `optional`. */
  readonly default?: number | string;
  readonly optional?: true;
  readonly choices?: readonly string[];
  readonly min?: number;
  readonly max?: number;
}

export interface OperationDefinition {
  readonly help: string;
  /** Given by position, in this order. */
  readonly args: readonly Parameter[];
  /** Given as name=value, in any order. */
  readonly keys: readonly Parameter[];
}

const VCPU = { name: 'vcpu', kind: 'number', min: 0 } as const;
const GFN = { name: 'gfn', kind: 'number', min: 0 } as const;
const PAGES = { name: 'n', kind: 'number', default: 1, min: 1 } as const;
const SLOT = { name: 'id', kind: 'number', min: 0 } as const;
const AS = { name: 'as', kind: 'number', default: 0, min: 0, max: 1 } as const;
/** KVM_MEM_LOG_DIRTY_PAGES and KVM_MEM_READONLY. */
const FLAGS_MAX = 3;
const MEM = { name: 'mem', kind: 'word' } as const;
const OFF = { name: 'off', kind: 'size', default: 0, min: 0 } as const;
const LEN = { name: 'len', kind: 'size', min: 1 } as const;
const TOUCH = [
  VCPU,
  GFN,
  PAGES,
  { name: 'stride', kind: 'number', default: 1, min: 1 },
  { name: 'op', kind: 'word', choices: ['r', 'w', 'x'] },
  { name: 'off', kind: 'number', default: 0x40, min: 0 },
] as const;

export const OPERATIONS = {
  param: {
    help: 'write a module parameter, as under /sys/module',
    args: [
      { name: 'path', kind: 'word' },
      { name: 'value', kind: 'word' },
    ],
    keys: [],
  },
  sys: {
    help: 'write a file of the tracing system; only a filter of the SPTE changes that are shown has an effect',
    args: [
      { name: 'path', kind: 'word' },
      { name: 'value', kind: 'rest' },
    ],
    keys: [],
  },
  shell: {
    help: 'run a command on the host: an aging pass (age.sh) is known',
    args: [{ name: 'command', kind: 'rest' }],
    keys: [],
  },
  vm: {
    help: 'create the VM, its vCPUs and its code slot 0',
    args: [],
    keys: [
      { name: 'vcpus', kind: 'number', default: 1, min: 1 },
      { name: 'manual', kind: 'number', default: 0, min: 0 },
      { name: 'dirty_ring', kind: 'number', default: 0, min: 0 },
      { name: 'disable_quirks', kind: 'number', default: 0, min: 0 },
      { name: 'kernel', kind: 'word', optional: true, choices: ['5.15', '5.18', '6.1', '6.12', '6.13'] },
      { name: 'cpu', kind: 'word', default: 'npt', choices: ['npt', 'ept'] },
      { name: 'ad', kind: 'number', default: 1, min: 0, max: 1 },
      { name: 'entries', kind: 'number', default: 512, min: 2 },
      { name: 'levels', kind: 'number', default: 4, min: 4 },
      { name: 'lock', kind: 'word', default: 'rwlock', choices: ['rwlock', 'spinlock'] },
      { name: 'iter', kind: 'word', default: 'plain', choices: ['plain', 'skip32', 'only-present'] },
      { name: 'code', kind: 'number', default: 1, min: 0, max: 1 },
      { name: 'pages', kind: 'number', optional: true, min: 8 },
    ],
  },
  mem: {
    help: 'map host memory',
    args: [MEM],
    keys: [
      { name: 'type', kind: 'word', default: '4k', choices: ['4k', 'thp', '2m', '1g'] },
      { name: 'size', kind: 'size', min: 1 },
      { name: 'populate', kind: 'number', default: 0, min: 0, max: 1 },
    ],
  },
  slot: {
    help: 'KVM_SET_USER_MEMORY_REGION: create a memslot',
    args: [SLOT],
    keys: [
      GFN,
      { name: 'npages', kind: 'number', min: 1 },
      MEM,
      OFF,
      { name: 'flags', kind: 'number', default: 0, min: 0, max: FLAGS_MAX },
      AS,
    ],
  },
  setflags: {
    help: 'KVM_SET_USER_MEMORY_REGION: change the flags of a memslot',
    args: [SLOT],
    keys: [{ name: 'flags', kind: 'number', min: 0, max: FLAGS_MAX }, AS],
  },
  moveslot: { help: 'KVM_SET_USER_MEMORY_REGION: move a memslot', args: [SLOT], keys: [GFN, AS] },
  delslot: { help: 'KVM_SET_USER_MEMORY_REGION: delete a memslot', args: [SLOT], keys: [AS] },
  touch: { help: 'the guest accesses n pages; the vCPU runs until it is done', args: [], keys: TOUCH },
  atouch: { help: 'as touch, without waiting for the vCPU', args: [], keys: TOUCH },
  wait: { help: 'wait for all vCPUs that atouch started', args: [], keys: [] },
  prefault: { help: 'KVM_PRE_FAULT_MEMORY', args: [], keys: [VCPU, GFN, PAGES] },
  getlog: { help: 'KVM_GET_DIRTY_LOG', args: [SLOT], keys: [AS] },
  clearlog: {
    help: 'KVM_CLEAR_DIRTY_LOG; only each `every`-th bit of the given bitmap is set',
    args: [SLOT],
    keys: [
      { name: 'first', kind: 'number', default: 0, min: 0 },
      { name: 'n', kind: 'number', min: 1 },
      { name: 'every', kind: 'number', default: 1, min: 1 },
      AS,
    ],
  },
  getring: { help: 'user space collects what is new in a dirty ring', args: [], keys: [VCPU] },
  resetrings: { help: 'KVM_RESET_DIRTY_RINGS', args: [], keys: [] },
  madvise: {
    help: 'madvise on host memory',
    args: [MEM],
    keys: [
      OFF,
      LEN,
      {
        name: 'advice',
        kind: 'word',
        choices: ['dontneed', 'collapse', 'hugepage', 'nohugepage', 'populate_read', 'populate_write', 'migrate'],
      },
    ],
  },
  mprotect: {
    help: 'mprotect on host memory',
    args: [MEM],
    keys: [OFF, LEN, { name: 'prot', kind: 'word', choices: ['r', 'rw'] }],
  },
  munmap: { help: 'munmap of host memory', args: [MEM], keys: [OFF, LEN] },
  remap: {
    help: 'map fresh memory over host memory (MAP_FIXED)',
    args: [MEM],
    keys: [
      OFF,
      LEN,
      { name: 'type', kind: 'word', optional: true, choices: ['4k', 'thp', '2m', '1g'] },
      { name: 'populate', kind: 'number', default: 0, min: 0, max: 1 },
    ],
  },
  hosttouch: {
    help: 'the host process accesses n pages',
    args: [MEM],
    keys: [OFF, PAGES, { name: 'op', kind: 'word', choices: ['r', 'w'] }],
  },
  destroy: { help: 'close the vCPUs and the VM', args: [], keys: [] },

  age: {
    help: 'reclaim looks whether pages were used and makes them old: of one memory, or of all',
    args: [{ name: 'mem', kind: 'word', optional: true }],
    keys: [
      OFF,
      { name: 'len', kind: 'size', optional: true, min: 1 },
      { name: 'how', kind: 'word', default: 'clear_young', choices: ['clear_young', 'clear_flush_young', 'test_young'] },
    ],
  },
  zapall: { help: 'invalidate all roots and zap them, as deleting a memslot does', args: [], keys: [] },
  zaprange: { help: 'zap a range of gfns under an invalidation of its own (kvm_zap_gfn_range)', args: [], keys: [GFN, PAGES] },
  recover: { help: 'one period of NX huge page recovery', args: [], keys: [] },
  track: { help: 'begin to write-track a gfn', args: [], keys: [GFN] },
  untrack: { help: 'end write-tracking of a gfn', args: [], keys: [GFN] },
  role: {
    help: 'the vCPU goes over to the roots of another role: in SMM, or for a nested guest',
    args: [],
    keys: [
      VCPU,
      { name: 'smm', kind: 'number', default: 0, min: 0, max: 1 },
      { name: 'nested', kind: 'number', default: 0, min: 0, max: 1 },
    ],
  },
  resched: {
    help: 'the scheduler wants the processor back at every n-th look of this thread; 0: never',
    args: [],
    keys: [{ name: 'every', kind: 'number', min: 0 }],
  },
  allocfail: {
    help: 'every n-th allocation of this thread that must not wait fails; 0: none',
    args: [],
    keys: [{ name: 'every', kind: 'number', min: 0 }],
  },
  expect: {
    help: 'fail unless what follows holds: see the reference',
    args: [{ name: 'what', kind: 'word', choices: ['mapped', 'unmapped', 'counter', 'dirty', 'result', 'changes'] }],
    keys: [
      { name: 'gfn', kind: 'number', optional: true, min: 0 },
      { name: 'level', kind: 'number', optional: true, min: 1 },
      { name: 'bits', kind: 'word', optional: true },
      AS,
      { name: 'name', kind: 'word', optional: true },
      { name: 'delta', kind: 'number', optional: true },
      { name: 'total', kind: 'number', optional: true },
      { name: 'slot', kind: 'number', optional: true, min: 0 },
      { name: 'n', kind: 'number', optional: true, min: 0 },
      { name: 'kind', kind: 'word', optional: true },
      { name: 'is', kind: 'word', optional: true },
    ],
  },
} as const satisfies Readonly<Record<string, OperationDefinition>>;

export type OperationName = keyof typeof OPERATIONS;

/** Words that structure a script and are no operations. */
export const STRUCTURE = ['phase', 'thread', 'join'] as const;

type AnyParameter<Name extends OperationName> =
  | (typeof OPERATIONS)[Name]['args'][number]
  | (typeof OPERATIONS)[Name]['keys'][number];
type ValueOf<P extends Parameter> = P['kind'] extends 'number' | 'size'
  ? number
  : P extends { readonly choices: readonly (infer Choice)[] }
    ? Choice
    : string;

/** The values of an operation's parameters, by name; those that are optional and were not given are undefined. */
export type Values<Name extends OperationName> = {
  readonly [P in AnyParameter<Name> as P['name']]: ValueOf<P> | (P extends { readonly optional: true } ? undefined : never);
};

/** One operation of a script, checked. */
export type Operation = {
  [Name in OperationName]: { readonly op: Name; readonly line: number; readonly values: Values<Name> };
}[OperationName];

export const isOperationName = (word: string): word is OperationName => Object.hasOwn(OPERATIONS, word);
