/** Strict replays come to the counts that were recorded. */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../src/build/paths.mjs';
import { type ComparisonRow, compareEvents, comparisonLines } from '../../src/report/trace-comparison.ts';
import { RecordingBuilder, readRecording } from '../../src/workloads/recording.ts';
import { trace } from '../../src/workloads/trace.ts';
import { run } from './coroutine-run.ts';

const whole = (name: string): string => path.join(ROOT, 'test/data/traces/whole', `${name}.trace.txt.gz`);

async function compare(file: string): Promise<ComparisonRow[]> {
  const { mmuEvents } = await run(trace, { order: 'strict' }, { operand: file });
  return compareEvents((await readRecording(file)).mmuEvents, mmuEvents);
}

const different = (rows: readonly ComparisonRow[]) =>
  rows.flatMap(({ group, name, difference }) => (difference === null || difference === 0 ? [] : [[group, name, difference]]));
const silent = (rows: readonly ComparisonRow[]) => rows.flatMap(({ name, recorded }) => (recorded === null ? [name] : []));
const numbers = (rows: readonly ComparisonRow[], wanted: string): unknown =>
  rows.filter(({ group, name }) => `${group}: ${name}` === wanted).map(({ recorded, replayed }) => [recorded, replayed])[0];

describe('a strict replay of', () => {
  it('faults with an eager split on demand, and dirty logging from begin to end', async () => {
    const rows = await compare(whole('dlperf_2m_v4_eagerN'));
    expect([different(rows), silent(rows)]).toEqual([[], []]);
    expect(numbers(rows, 'fast page faults: not handled')).toEqual([6144, 6144]);
    expect(numbers(rows, 'SPTE changes: level 1: write-protected')).toEqual([12288, 12288]);
    expect(numbers(rows, 'SPTE changes: level 1: leaf frozen')).toEqual([6144, 6144]);
    expect(numbers(rows, 'flushes: flush_range')).toEqual([12, 12]);
    expect(rows.length).toBeGreaterThan(35);
  });

  it('faults of several vCPUs on the same pages: but for those that were given up', async () => {
    const rows = await compare(whole('demand_4k_v4_overlap'));
    expect(different(rows)).toEqual([
      ['page faults', 'write, not present', -3],
      ['page fault results', 'retry', -3],
    ]);
    expect(numbers(rows, 'SPTE changes: level 1: other bits changed')).toEqual([367, 367]);
  });

  it('the boot of a guest, with MMIO, deleted slots and system-management mode: but for its control registers', async () => {
    const rows = await compare(whole('nested_boot_thp'));
    expect(different(rows)).toEqual([['operations', 'load_pgd', expect.any(Number)]]);
    expect(silent(rows)).toEqual([1, 2, 3].map((level) => `level ${level}: empty entry frozen`));
    expect(numbers(rows, 'page faults: MMIO (reserved bit)')).toEqual([739, 739]);
    expect(numbers(rows, 'page tables: level 4 allocated')).toEqual([6, 6]);
  });

  it('a migration that was under way', async () => {
    const rows = await compare(whole('nested_migrate_thp'));
    expect(different(rows)).toEqual([]);
    expect(numbers(rows, 'splits of huge pages: level 2')).toEqual([44, 44]);
    expect(numbers(rows, 'SPTE changes: level 1: write-protected')).toEqual([25121, 25121]);
  });
});

it('the table shows what differs, and what is not told', () => {
  const rows = compareEvents(
    {
      'page faults': { 'write, not present': 12000 },
      'page tables': { 'level 1 removed': 3 },
      'SPTE changes': { 'level 1: leaf mapped': 11999 },
      operations: { zap_invalidated_roots: 1 },
    },
    {
      'page faults': { 'write, not present': 12000 },
      'page fault results': { fixed: 12000 },
      'page tables': { 'level 1 removed': 3 },
      'SPTE changes': {
        'level 1: leaf mapped': 12000,
        'level 1: empty entry frozen': 1536,
        'set by faults (kvm_mmu_set_spte)': 12000,
      },
      operations: { zap_invalidated_roots: 1 },
      flushes: { flush_all: 2 },
    },
  );
  expect(comparisonLines(rows)).toEqual([
    '                                                        recorded  replayed  difference',
    '  page faults         write, not present                  12,000    12,000',
    '  page fault results  fixed                                    -    12,000',
    '  SPTE changes        level 1: leaf mapped                11,999    12,000          +1',
    '                      level 1: empty entry frozen              -     1,536',
    '                      set by faults (kvm_mmu_set_spte)         -    12,000',
    '  page tables         level 1 removed                          3         3',
    '  flushes             flush_all                                0         2          +2',
    '  operations          zap_invalidated_roots                    1         1',
    '  3 counts agree, 2 differ; -: the recording does not tell (3)',
  ]);
});

describe('what recordings differ in', () => {
  const build = (...lines: string[]) => {
    const builder = new RecordingBuilder();
    for (const line of lines) expect(builder.add(` q-${line}`)).toBe(true);
    return builder.finish();
  };

  it('a fault that broke a copy-on-write of the host is known by its second try where returns are not recorded', () => {
    const fault = '1 [000] ..... 1.000000: kvm_page_fault: vcpu 0 rip 0x0 address 0x5000 error_code 0x100000007';
    const unmap = '1 [000] ..... 1.000001: kvm_unmap_hva_range: mmu notifier unmap range: 0x007f0000005000 -- 0x007f0000006000';
    const { events } = build(fault, unmap, fault);
    expect(events.map((event) => event.what === 'fault' && event.result)).toEqual([1, false, null]);
  });

  it('what the returns say, who was in system-management mode, and which pages the host had populated', () => {
    const { events, mmuEvents } = build(
      '7 [000] ..... 1.000000: kvm_page_fault: vcpu 1 rip 0x0 address 0x38000 error_code 0x100000014',
      '7 [000] ...1. 1.000001: kvm_tdp_mmu_spte_changed: as id 1 gfn 38 level 1 old_spte 8000000000000000 new_spte 120200e67',
      '7 [000] ...1. 1.000002: kvm_mmu_set_spte: gfn 38 spte 120200e67 (rwxu) level 1 at 1018b8000',
      '7 [000] ..... 1.000003: npf_done: (kvm_mmu_do_page_fault+0x1e8/0x230 [kvm] <- kvm_tdp_page_fault) gpa=0x38000 ret=5',
      '7 [000] ..... 1.000004: load_pgd: (svm_load_mmu_pgd+0x4/0xf0 [kvm_amd]) root=0x101852000 level=4',
    );
    expect(events).toMatchObject([
      { what: 'fault', access: 'exec', result: 5, smm: true, writableLeaf: 1, invalidated: false },
      { what: 'load', vcpu: 1, smm: false },
    ]);
    expect(mmuEvents).toEqual({
      'page faults': { 'fetch, not present': 1 },
      'page fault results': { fixed: 1 },
      'SPTE changes': { 'level 1: leaf mapped': 1, 'set by faults (kvm_mmu_set_spte)': 1 },
      operations: { load_pgd: 1 },
    });
  });

  it('what was mapped when a recording of a running VM began', () => {
    const changed = (text: string) => `9 [000] ...1. 1.000000: kvm_tdp_mmu_spte_changed: as id 0 ${text}`;
    const { initialLeaves } = build(
      changed('gfn 200 level 2 old_spte 120200ee7 new_spte 101868827'),
      changed('gfn 201 level 1 old_spte 120201e67 new_spte 120201e65'),
      changed('gfn 400 level 1 old_spte 120400e67 new_spte 120400e65'),
      changed('gfn 400 level 1 old_spte 120400e65 new_spte 120400e67'),
      changed('gfn 600 level 1 old_spte 8000000000000000 new_spte 120600e67'),
      changed('gfn 700 level 1 old_spte 120700825 new_spte 8000000000000000'),
    );
    expect(initialLeaves).toEqual([
      { asId: 0, gfn: 0x200, level: 2, writable: true },
      { asId: 0, gfn: 0x400, level: 1, writable: true },
      { asId: 0, gfn: 0x700, level: 1, writable: false },
    ]);
  });
});
