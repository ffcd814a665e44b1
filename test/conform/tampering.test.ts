/** A comparison is worth what it notices: recordings with one thing changed must not pass. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { conformRecording } from '../../src/conform/conform.ts';
import type { Mismatch } from '../../src/conform/phase-comparer.ts';
import { parseRecording } from '../../src/conform/recording.ts';

const FOLDER = fileURLToPath(new URL('../data/kvm-truth/', import.meta.url));
const textOf = (file: string): string => gunzipSync(readFileSync(`${FOLDER}${file}.json.gz`)).toString('utf8');

// biome-ignore lint/suspicious/noExplicitAny: the tests reach into JSON of which they know the shape.
type Phases = any[];

/** What comparing says of a recording after `change`. */
function compare(file: string, change: (phases: Phases) => void): Mismatch | null {
  const json = JSON.parse(textOf(file));
  change(json.phases);
  return conformRecording(parseRecording(JSON.stringify(json), file)).mismatch;
}

const THP = 'linux-6.12/13_dontneed_thp';
const FOUR_K = 'linux-6.12/12_dontneed_4k';
const RACE = 'linux-6.12/21_race_fault_4k';

describe('a recording that is not true', () => {
  it('passes as it is', () => {
    expect(compare(THP, () => {})).toBeNull();
  });

  it.each<[string, (phases: Phases) => void, Partial<Mismatch>]>([
    ['a bit of a new SPTE', (p) => Object.assign(p[1].changes[4], { new: '0x14a200ee5' }), { phase: 1, what: 'events' }],
    ['the level of a change', (p) => Object.assign(p[1].changes[4], { level: 3 }), { phase: 1, what: 'events' }],
    ['the gfn of a change', (p) => Object.assign(p[1].changes[4], { gfn: '0x10400' }), { phase: 1, what: 'events' }],
    ['the address space', (p) => Object.assign(p[1].changes[4], { as_id: 1 }), { phase: 1, what: 'events' }],
    ['the thread', (p) => Object.assign(p[1].changes[4], { by: 'ioctl' }), { phase: 1, what: 'events' }],
    ['an event less', (p) => p[2].events.splice(6, 1), { phase: 2, what: 'events' }],
    [
      'an event more',
      (p) => p[2].events.push({ e: 'flush_all', by: 'ioctl' }),
      { phase: 2, what: 'events', got: '(nothing more)' },
    ],
    [
      'two events in the other order',
      (p) => p[2].events.splice(5, 2, p[2].events[6], p[2].events[5]),
      { phase: 2, what: 'events' },
    ],
    ['the mode of a lock', (p) => Object.assign(p[2].events[1], { e: 'mmu_lock.read_lock' }), { phase: 2, what: 'events' }],
    ['the start of a walk', (p) => Object.assign(p[2].events[3], { gfn: '0x10008' }), { phase: 2, what: 'events' }],
    [
      'a frame that comes back as another',
      (p) => Object.assign(p[8].changes[0], { old: '0x1546ee867' }),
      { phase: 8, what: 'events' },
    ],
    ['a table that was another', (p) => Object.assign(p[8].changes[1], { old: '0x14208d827' }), { phase: 8, what: 'events' }],
    ['how many entries were frozen', (p) => Object.assign(p[7].changes[1], { n: 511 }), { phase: 7, what: 'events' }],
    [
      'a statistic',
      (p) => Object.assign(p[1].counters.vm.pages_2m, { delta: 3 }),
      { phase: 1, what: 'vm pages_2m', expected: '3', got: '2' },
    ],
    ['fewer exits', (p) => Object.assign(p[1].counters.vcpu0.exits, { delta: 3 }), { phase: 1, what: 'vcpu0 exits' }],
    [
      'the accessed bit at the end',
      (p) => Object.assign(p[1].state.end[4], { bits: '0xec7' }),
      { phase: 1, what: 'page table at the end, row 4' },
    ],
    ['a row of the page table', (p) => p[1].state.end.pop(), { phase: 1, what: 'page table at the end, row 4' }],
    ['no page table', (p) => Object.assign(p[1].state, { end: null }), { phase: 1, expected: 'no valid root' }],
    [
      'the result of a call',
      (p) => Object.assign(p[2].ops[0], { result: 'madvise ret=-1 errno=22' }),
      { phase: 2, what: "result of 'madvise'" },
    ],
    [
      'the result of a run',
      (p) => Object.assign(p[3].ops[1], { result: 'MMIO(gpa=0x10007040,len=4,w)' }),
      { phase: 3, what: "result of 'touch'" },
    ],
  ])('is found out: %s', (_what, change, mismatch) => {
    expect(compare(THP, change)).toMatchObject(mismatch);
  });

  it('shows what was expected and what came, with what went before', () => {
    const mismatch = compare(FOUR_K, (phases) => Object.assign(phases[1].changes[4], { new: '0x1424f1e65' }));
    expect(mismatch?.expected).toMatch(/^vcpu0: SPTE as 0 gfn 0x[0-9a-f]+ level \d 0x8000000000000000 -> 0x1424f1e65/);
    expect(mismatch?.got).toMatch(/^vcpu0: SPTE as 0 gfn/);
    expect(mismatch?.before).toHaveLength(4);
  });

  it('may have more exits: the host interrupts', () => {
    expect(compare(THP, (p) => Object.assign(p[1].counters.vcpu0.exits, { delta: 5 }))).toBeNull();
  });

  it('may have other frames, as long as they are the same wherever they are', () => {
    const rename = (spte: string): string => spte.replace(/^0x14a4(?=00e)/, '0x15d6').replace(/^0x1427af/, '0x1aaaaa');
    const renamed = compare(THP, (phases) => {
      for (const { changes } of phases)
        for (const change of changes) Object.assign(change, { old: rename(change.old), new: rename(change.new) });
    });
    expect(renamed).toBeNull();
  });

  it('may have yields where the host preempted a walk', () => {
    const preempted = compare('linux-6.12/08_dirtylog_4k_eagerY_manual0', (phases) => {
      const phase = phases.find(({ ops }) => ops[0].op === 'setflags');
      const at = phase.events.findIndex(({ e }: { e: string }) => e === 'wrprot_slot') + 4;
      const by = 'ioctl';
      phase.events.splice(
        at,
        0,
        { e: 'yield_read', by },
        { e: 'mmu_lock.read_unlock', by },
        { e: 'mmu_lock.read_lock', by },
        { e: 'iter_restart', by },
      );
    });
    expect(preempted).toBeNull();
  });
});

describe('a race that nobody can have run', () => {
  it('is found out: a thread did something else', () => {
    const mismatch = compare(RACE, (phases) => {
      const change = phases[1].changes.findLast(({ kind }: { kind: string }) => kind === 'map_leaf');
      change.new = change.new.replace(/e67$/, 'e65');
    });
    expect(mismatch).toMatchObject({ phase: 1 });
  });

  it('is found out: another page table at the end', () => {
    expect(compare(RACE, (p) => Object.assign(p[2].state.end.at(-1), { bits: '0xe25' }))).toMatchObject({ phase: 2 });
  });
});
