/**
 * What all workloads have in common: which kernel on which processor with which lock and parameters, the seed, and how the run
 * is disturbed and ended.
 */
import { KERNELS, type KernelName } from '../mmu/generation.ts';
import { ITER_MODES, type IterName, PARAMS, type ParamName } from '../mmu/params.ts';
import type { CpuName } from '../mmu/spte-format.ts';
import type { VmConfig } from '../vm/vm-config.ts';
import { numberOf, type OptionTable, parseOptions, textOf } from './option.ts';
import { UsageError, unknownName } from './usage-error.ts';

export interface RunSettings {
  /** What goes into the VM's configuration. */
  readonly vm: Pick<VmConfig, 'kernel' | 'behaviours' | 'cpu' | 'mmu' | 'lock' | 'adBits'>;
  readonly params: Readonly<Partial<Record<ParamName, number>>>;
  readonly seed: number;
  /** How likely a delay is before each shared access, 0 to 1. */
  readonly perturb: number;
  /** After so long the run is ended; 0: when its programs are done. */
  readonly durationMs: number;
}

export const RUN_OPTIONS: OptionTable = [
  {
    key: 'mmu',
    long: 'mmu',
    kind: 'choice',
    default: 'tdp',
    choices: ['tdp', 'shadow'],
    help: 'which MMU: the TDP MMU, or the rmap-based one under a spinlock that it replaced',
  },
  {
    key: 'lock',
    long: 'lock',
    kind: 'choice',
    default: 'rwlock',
    choices: ['rwlock', 'spinlock'],
    help: 'what mmu_lock is: the reader-writer lock, or the spinlock before it',
  },
  {
    key: 'kernel',
    long: 'kernel',
    kind: 'choice',
    default: '6.12',
    choices: Object.keys(KERNELS),
    help: 'whose behaviour is modelled',
  },
  { key: 'cpu', long: 'cpu', kind: 'choice', default: 'npt', choices: ['npt', 'ept'], help: 'AMD NPT or Intel EPT' },
  {
    key: 'iter',
    long: 'iter',
    kind: 'choice',
    default: 'plain',
    choices: Object.keys(ITER_MODES),
    help: 'how walks pass empty entries: one by one, by up to 32 in zaps of roots, or not at all',
  },
  { key: 'seed', long: 'seed', kind: 'number', default: 1, min: 0, max: 2 ** 31 - 1, help: 'seed of everything that is drawn' },
  {
    key: 'perturb',
    long: 'perturb',
    kind: 'number',
    default: 0,
    min: 0,
    max: 1,
    fraction: true,
    help: 'probability of a delay before each shared access, which provokes races',
  },
  {
    key: 'duration',
    long: 'duration',
    kind: 'number',
    default: 0,
    min: 0,
    max: 86_400,
    fraction: true,
    help: 'seconds after which the run is ended (0: when it is done)',
  },
];

/**
 * The settings from what the user wrote.
 *
 * @param sets values of `--set`: `name=value`
 */
export function runSettings(given: Readonly<Record<string, string | boolean | undefined>>, sets: readonly string[]): RunSettings {
  const options = parseOptions(RUN_OPTIONS, given);
  const cpu = textOf(options, 'cpu') as CpuName;
  let adBits = true;
  // The defaults of the kernel where they depend on the processor (kvm_intel: enable_pml).
  const params: Partial<Record<ParamName, number>> = cpu === 'ept' ? { pml: 1 } : {};
  const iter = textOf(options, 'iter') as IterName;
  if (iter !== 'plain') params.iterMode = ITER_MODES[iter];
  for (const text of sets) {
    const { name, value } = parseSetting(text);
    if (name === 'adBits') adBits = value !== 0;
    else params[name] = value;
  }
  if (params.pml === 1 && cpu === 'npt') throw new UsageError('--set pml=1: only --cpu ept has page-modification logging');
  if (!adBits) params.pml = 0;
  const mmu = textOf(options, 'mmu') as VmConfig['mmu'];
  if (mmu === 'shadow' && given.lock === 'rwlock') throw new UsageError('--mmu shadow: the rmap-based MMU has a spinlock');
  const lock = mmu === 'shadow' ? 'spinlock' : (textOf(options, 'lock') as VmConfig['lock']);
  return {
    vm: { kernel: textOf(options, 'kernel') as KernelName, cpu, mmu, lock, adBits },
    params,
    seed: numberOf(options, 'seed'),
    perturb: numberOf(options, 'perturb'),
    durationMs: 1000 * numberOf(options, 'duration'),
  };
}

/** Names that the kernel has for what is no word of the parameters. */
const AD_BITS = ['ad_bits', 'eptad', 'ept_ad_bits'];

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** `eager_page_split=N`, `kvm.eager_page_split=0`, `eagerPageSplit=0`. Errors: UsageError. */
export function parseSetting(text: string): { name: ParamName | 'adBits'; value: number } {
  const match = /^(?:kvm(?:_intel|_amd)?\.)?([\w-]+)=(.*)$/.exec(text.trim());
  if (match === null) throw new UsageError(`--set ${text}: give name=value, for example eager_page_split=N`);
  const wanted = match[1].replaceAll('-', '_');
  const names = Object.keys(PARAMS) as ParamName[];
  const name = names.find((n) => n === wanted || snakeCase(n) === wanted);
  const value = parseValue(match[2]);
  if (value === null) throw new UsageError(`--set ${text}: '${match[2]}' is neither a whole number from 0 on nor Y or N`);
  if (name === undefined && (wanted === 'adBits' || AD_BITS.includes(wanted))) return { name: 'adBits', value };
  if (name === undefined) throw unknownName('parameter', match[1], [...names.map(snakeCase), AD_BITS[0]]);
  return { name, value };
}

function parseValue(text: string): number | null {
  if (/^(y|yes|on|true)$/i.test(text)) return 1;
  if (/^(n|no|off|false)$/i.test(text)) return 0;
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
}
