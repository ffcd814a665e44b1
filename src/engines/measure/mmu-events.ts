/**
 * Counts of the events that the kernel's tracepoints of the MMU report, by what tells them apart: how faults ended, what changed
 * in SPTEs at which level, splits, tables, flushes. A run counts its own; those of a recorded trace are counted by the same rules.
 */
import type { Level } from '../../mmu/level.ts';
import { PfErr, RetPf } from '../../mmu/page-fault-info.ts';
import { isLastSpte, isShadowPresent, type Spte } from '../../mmu/spte.ts';

/** Levels of entries: 4K leaves are at 1. */
const LEVELS = [1, 2, 3, 4, 5] as const;

export const MMU_EVENT_GROUPS = [
  'page faults',
  'page fault results',
  'fast page faults',
  'SPTE changes',
  'splits of huge pages',
  'page tables',
  'flushes',
  'operations',
] as const;
export type MmuEventGroup = (typeof MMU_EVENT_GROUPS)[number];

export interface MmuEvent {
  readonly group: MmuEventGroup;
  /** Within its group. */
  readonly name: string;
}

const FAULT_KINDS = ['read', 'write', 'fetch'] as const;
/** By result of the handler. */
const RESULTS: Readonly<Record<number, string>> = {
  [RetPf.fixed]: 'fixed',
  [RetPf.spurious]: 'spurious',
  [RetPf.retry]: 'retry',
  [RetPf.emulate]: 'emulate',
  [RetPf.writeProtected]: 'write-protected',
};
const CHANGES = [
  'leaf mapped',
  'leaf zapped',
  'table linked',
  'table unlinked',
  'huge leaf split',
  'table replaced by a leaf',
  'empty entry frozen',
  'leaf frozen',
  'table frozen',
  'write-protected',
  'made writable',
  'other bits changed',
  'MMIO set',
  'MMIO removed',
  'frozen entry replaced',
] as const;
type Change = (typeof CHANGES)[number];

/** Operations whose entry is reported, by their names here and in a trace. */
const OPERATIONS = [
  ['load_root', 'load_pgd'],
  ['kvm_mmu_zap_all_fast', 'kvm_mmu_zap_all_fast'],
  ['inval_roots', 'inval_roots'],
  ['zap_invalidated_roots', 'zap_invalidated_roots'],
  ['zap_collapsible', 'zap_collapsible'],
  ['try_split', 'try_split'],
  ['wrprot_slot', 'wrprot_slot'],
  ['clear_dirty_pt_masked', 'clear_dirty_pt_masked'],
  ['mark_mmio_spte', 'mark_mmio_spte'],
] as const;

export const MMU_EVENTS: readonly MmuEvent[] = [
  ...FAULT_KINDS.flatMap((kind) => [
    { group: 'page faults', name: `${kind}, not present` } as const,
    { group: 'page faults', name: `${kind}, present` } as const,
  ]),
  { group: 'page faults', name: 'MMIO (reserved bit)' },
  ...[...Object.values(RESULTS), 'error'].map((name) => ({ group: 'page fault results', name }) as const),
  ...['fixed', 'spurious', 'not handled'].map((name) => ({ group: 'fast page faults', name }) as const),
  ...CHANGES.flatMap((change) => LEVELS.map((level) => ({ group: 'SPTE changes', name: `level ${level}: ${change}` }) as const)),
  { group: 'SPTE changes', name: 'set by faults (kvm_mmu_set_spte)' },
  ...LEVELS.map((level) => ({ group: 'splits of huge pages', name: `level ${level}` }) as const),
  { group: 'splits of huge pages', name: 'failed' },
  ...LEVELS.map((level) => ({ group: 'page tables', name: `level ${level} allocated` }) as const),
  ...LEVELS.map((level) => ({ group: 'page tables', name: `level ${level} removed` }) as const),
  ...['flush_all', 'flush_range'].map((name) => ({ group: 'flushes', name }) as const),
  ...OPERATIONS.map(([, name]) => ({ group: 'operations', name }) as const),
];

const indexOf = (group: MmuEventGroup, name: string): number =>
  MMU_EVENTS.findIndex((event) => event.group === group && event.name === name);

/** Indices by what a listener knows, so that counting is one addition. */
const FAULTS = FAULT_KINDS.map((kind) => indexOf('page faults', `${kind}, not present`));
const MMIO_FAULT = indexOf('page faults', 'MMIO (reserved bit)');
const RESULT_INDICES: number[] = [];
for (const [result, name] of Object.entries(RESULTS)) RESULT_INDICES[Number(result)] = indexOf('page fault results', name);
const ERROR = indexOf('page fault results', 'error');
const FAST_FIXED = indexOf('fast page faults', 'fixed');
const FIRST_CHANGE = Object.fromEntries(
  CHANGES.map((change) => [change, indexOf('SPTE changes', `level 1: ${change}`)]),
) as Record<Change, number>;
const SET_SPTE = indexOf('SPTE changes', 'set by faults (kvm_mmu_set_spte)');
const SPLIT = indexOf('splits of huge pages', 'level 1');
const SPLIT_FAILED = indexOf('splits of huge pages', 'failed');
const ALLOCATED = indexOf('page tables', 'level 1 allocated');
const REMOVED = indexOf('page tables', 'level 1 removed');
const FLUSHES: Readonly<Record<string, number>> = {
  flush_all: indexOf('flushes', 'flush_all'),
  flush_range: indexOf('flushes', 'flush_range'),
};
const OPERATION_INDICES: Readonly<Record<string, number>> = {
  ...FLUSHES,
  ...Object.fromEntries(
    OPERATIONS.flatMap(([own, traced]) => [own, traced].map((name) => [name, indexOf('operations', traced)])),
  ),
};

const WRITABLE = 1 << 1;
const FROZEN_LO = 0x5a0;

/** What an entry holds. The bits that decide are the same on EPT and NPT, in all kernels. */
function shapeOf(spte: Spte, level: Level): 'empty' | 'frozen' | 'mmio' | 'table' | 'leaf' {
  if (isShadowPresent(spte)) return isLastSpte(spte, level) ? 'leaf' : 'table';
  if (spte.lo === FROZEN_LO) return 'frozen';
  return spte.lo === 0 && (spte.hi & 0x7fff_ffff) === 0 ? 'empty' : 'mmio';
}

function changeOf(old: Spte, next: Spte, level: Level): Change {
  const from = shapeOf(old, level);
  const to = shapeOf(next, level);
  if (to === 'frozen') return from === 'leaf' ? 'leaf frozen' : from === 'table' ? 'table frozen' : 'empty entry frozen';
  if (from === 'frozen' && to !== 'empty') return 'frozen entry replaced';
  if (to === 'mmio') return 'MMIO set';
  if (to === 'empty') return from === 'leaf' ? 'leaf zapped' : from === 'table' ? 'table unlinked' : 'MMIO removed';
  if (to === 'table') return from === 'leaf' ? 'huge leaf split' : 'table linked';
  if (from === 'table') return 'table replaced by a leaf';
  if (from !== 'leaf') return 'leaf mapped';
  const lost = old.lo & ~next.lo & WRITABLE;
  if (lost !== 0) return 'write-protected';
  return (next.lo & ~old.lo & WRITABLE) !== 0 ? 'made writable' : 'other bits changed';
}

/** Counts events into an array of {@link MMU_EVENTS}.length numbers. */
export class MmuEventCounts {
  readonly counts: Float64Array;

  constructor(counts: Float64Array = new Float64Array(MMU_EVENTS.length)) {
    this.counts = counts;
  }

  pageFault(errorCode: number): void {
    if ((errorCode & PfErr.reserved) !== 0) this.counts[MMIO_FAULT]++;
    else {
      const kind = (errorCode & PfErr.write) !== 0 ? 1 : (errorCode & PfErr.fetch) !== 0 ? 2 : 0;
      this.counts[FAULTS[kind] + (errorCode & PfErr.present)]++;
    }
  }

  /** `result`: a RetPf, or a negative errno. */
  pageFaultDone(result: number): void {
    this.counts[RESULT_INDICES[result] ?? ERROR]++;
  }

  fastPageFault(fixed: boolean, spurious: boolean): void {
    this.counts[FAST_FIXED + (fixed ? 0 : spurious ? 1 : 2)]++;
  }

  spteChanged(level: Level, old: Spte, next: Spte): void {
    this.counts[FIRST_CHANGE[changeOf(old, next, level)] + level - 1]++;
  }

  spteSet(): void {
    this.counts[SET_SPTE]++;
  }

  split(level: number, errno: number): void {
    this.counts[errno === 0 ? SPLIT + level - 1 : SPLIT_FAILED]++;
  }

  tableAllocated(level: number): void {
    this.counts[ALLOCATED + level - 1]++;
  }

  tableRemoved(level: number): void {
    this.counts[REMOVED + level - 1]++;
  }

  /** An operation begins: by its name here, or in a trace; those that are not counted are passed over. */
  operation(name: string): void {
    const index = OPERATION_INDICES[name];
    if (index !== undefined) this.counts[index]++;
  }
}

/** Counts by group and name; what did not happen is left out. */
export type MmuEventTable = Readonly<Partial<Record<MmuEventGroup, Readonly<Record<string, number>>>>>;

export function mmuEventTable(counts: Float64Array): MmuEventTable {
  const table: Partial<Record<MmuEventGroup, Record<string, number>>> = {};
  for (const [i, { group, name }] of MMU_EVENTS.entries()) {
    if (counts[i] === 0) continue;
    const row = (table[group] ??= {});
    row[name] = counts[i];
  }
  return table;
}
