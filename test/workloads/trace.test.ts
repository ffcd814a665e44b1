import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../src/build/paths.mjs';
import { MmuCounter } from '../../src/mmu/counters.ts';
import { VmCounter } from '../../src/vm/vm-counters.ts';
import { parseFields, parseFtraceLine, parseLeaf, parsePageFault, parseUnmapRange } from '../../src/workloads/ftrace-line.ts';
import { RecordingBuilder, readRecording } from '../../src/workloads/recording.ts';
import { trace } from '../../src/workloads/trace.ts';
import { planReplay } from '../../src/workloads/trace-plan.ts';
import { prepare, run } from './coroutine-run.ts';

const excerpt = (name: string): string => path.join(ROOT, 'test/data/traces', `${name}.trace.txt.gz`);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'trace-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, contents: string | Uint8Array): string {
  const full = path.join(folder, name);
  writeFileSync(full, contents);
  return full;
}

describe('a line', () => {
  it.each([
    '       CPU 1/KVM-203     [003] .....   141.090730: fast_page_fault: vcpu 1 gva 2c27ff0',
    '       CPU 1/KVM-203     [003] d..1.   141.090730: fast_page_fault: vcpu 1 gva 2c27ff0',
    '       CPU 1/KVM-203     [003]   141.090730: fast_page_fault: vcpu 1 gva 2c27ff0',
    '       CPU 1/KVM-203   (    190) [003] d..1   141.090730: fast_page_fault: vcpu 1 gva 2c27ff0',
    'CPU 1/KVM-203 [003] .....   141.090730123: fast_page_fault: vcpu 1 gva 2c27ff0',
  ])('%s', (line) => {
    expect(parseFtraceLine(line)).toEqual({
      task: 'CPU 1/KVM',
      pid: 203,
      us: 141_090_730,
      event: 'fast_page_fault',
      text: 'vcpu 1 gva 2c27ff0',
    });
  });

  it('keeps a task name with blanks, dashes and dots', () => {
    expect(parseFtraceLine(' ld-linux-x86-64-193     [000] .....    85.352830: x: y')?.task).toBe('ld-linux-x86-64');
  });

  it.each(['', '# tracer: nop', 'hello', 'CPU:3 [LOST 17 EVENTS]'])('%j is no event', (line) => {
    expect(parseFtraceLine(line)).toBeNull();
  });

  it('of a fault tells vCPU, page and kind', () => {
    const text = 'vcpu 2 rip 0x406ef0 address 0x000000fcffa6e010 error_code 0x100000006';
    expect(parsePageFault(text)).toEqual({ vcpu: 2, gfn: 0xfcffa6e, present: false, write: true, exec: false, reserved: false });
    expect(parsePageFault('address fee00000 error_code d')).toMatchObject({
      vcpu: null,
      gfn: 0xfee00,
      present: true,
      reserved: true,
    });
    expect(parsePageFault('something else')).toBeNull();
  });

  it('of a kprobe event has fields', () => {
    const text =
      '(kvm_vm_ioctl+0x4/0x18b0 [kvm]) cmd=0x40a0ae49 slot=65537 flags=0x1 gpa=0xfcfe600000 size=0x1800000 hva=0x7eff17600000';
    expect(parseFields(text)).toEqual({
      cmd: 0x40a0ae49,
      slot: 65537,
      flags: 1,
      gpa: 0xfcfe600000,
      size: 0x1800000,
      hva: 0x7eff17600000,
    });
  });

  it('of a leaf and of an invalidation has the range', () => {
    expect(parseLeaf('gfn fcfe600 spte 80000001234008e7 (rwxu) level 2 at ffff8881')).toEqual({ gfn: 0xfcfe600, level: 2 });
    expect(parseUnmapRange('mmu notifier unmap range: 0x007eff18fb6000 -- 0x007eff18fb7000')).toEqual({
      start: 0x7eff18fb6000,
      end: 0x7eff18fb7000,
    });
  });
});

describe('a recording', () => {
  it('tells faults, ioctls and what it left out', async () => {
    const recording = await readRecording(excerpt('dlperf_2m_v4_eagerN'));
    const text = gunzipSync(readFileSync(excerpt('dlperf_2m_v4_eagerN'))).toString();
    const lines = (event: string): number => text.split('\n').filter((line) => line.includes(` ${event}: `)).length;
    expect(recording).toMatchObject({ vcpus: 4, whole: true, eagerPageSplit: false, notUnderstood: 0 });
    expect(recording.faults).toBe(lines('kvm_page_fault'));
    const count = (what: string): number => recording.events.filter((event) => event.what === what).length;
    expect(count('memslot')).toBe(lines('ioctl_memslot'));
    expect(count('get')).toBe(3);
    expect(count('clear')).toBe(3);
    expect(recording.leftOut.npf_done).toBe(lines('npf_done'));
  });

  it('reads plain text as well', async () => {
    const text = gunzipSync(readFileSync(excerpt('memslot_stress_v4')));
    expect(await readRecording(file('plain.txt', text))).toEqual(await readRecording(excerpt('memslot_stress_v4')));
  });

  it('counts what it does not understand, and goes on', () => {
    const builder = new RecordingBuilder();
    builder.add('# comment');
    builder.add('garbage');
    builder.add(' a-1 [000] ..... 1.000000: kvm_page_fault: nonsense');
    builder.add(' a-1 [000] ..... 1.000001: ioctl_memslot: slot=1');
    builder.add(' a-1 [000] ..... 1.000002: sched_switch: prev=x');
    builder.add(' a-1 [000] ..... 1.000003: kvm_page_fault: vcpu 0 rip 0x0 address 0x1000 error_code 0x6');
    const recording = builder.finish();
    expect(recording).toMatchObject({ lines: 6, faults: 1, notUnderstood: 3, firstNotUnderstood: 'garbage' });
    expect(recording.leftOut).toEqual({ sched_switch: 1 });
  });

  it('numbers vCPUs by thread where a kernel does not', () => {
    const builder = new RecordingBuilder();
    for (const pid of [7, 9, 7]) builder.add(` q-${pid} [000] .... 1.000000: kvm_page_fault: address 1000 error_code 6`);
    const recording = builder.finish();
    expect(recording.events.map((event) => event.what === 'fault' && event.vcpu)).toEqual([0, 1, 0]);
  });

  it('that is cut off in the middle of an event names the line; a last line that only lacks its newline is read', async () => {
    const first = ' a-1 [000] ..... 1.000000: kvm_page_fault: vcpu 0 rip 0x0 address 0x1000 error_code 0x6';
    const whole = `# tracer: nop\n${first}\n${first}`;
    expect(await readRecording(file('unended.txt', whole))).toMatchObject({ faults: 2, notUnderstood: 0 });
    for (const cut of [60, 20]) {
      const name = file(`cut-${cut}.txt`, whole.slice(0, -cut));
      await expect(readRecording(name)).rejects.toThrow(`${name}: the file is cut off in line 3`);
    }
    const strange = await readRecording(file('strange.txt', `${first}\ngarbage\n`));
    expect(strange).toMatchObject({ faults: 1, notUnderstood: 1 });
  });

  it.each([
    [
      'cut off',
      () => file('cut.gz', readFileSync(excerpt('memslot_stress_v4')).subarray(0, 20_000)),
      /the gzip file is cut off$/,
    ],
    ['damaged', () => file('bad.gz', damaged(readFileSync(excerpt('memslot_stress_v4')))), /the gzip file is damaged/],
    ['binary', () => file('binary', new Uint8Array(300)), /neither text nor gzipped text$/],
    ['empty', () => file('empty', ''), /is empty$/],
    ['a directory', () => folder, /is a directory, not a recorded trace$/],
    ['missing', () => path.join(folder, 'nobody'), /there is no such file$/],
    ['of something else', () => file('text', 'hello\nworld\n'), /no kvm_page_fault event in 2 lines/],
  ])('that is %s gives one line', async (_, make, message) => {
    await expect(prepare(trace, {}, { operand: make() })).rejects.toThrow(message);
  });
});

function damaged(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy.fill(0xff, 5000, 5600);
  return copy;
}

describe('a plan of a replay', () => {
  it('takes slots, memory and parameters from the recording', async () => {
    const replay = planReplay(await readRecording(excerpt('dlperf_2m_v4_eagerN')), null);
    expect(replay).toMatchObject({ params: { eagerPageSplit: 0 }, guessed: 0, premapped: 0, ioctls: 13 });
    expect(replay.memory.some(({ type }) => type === 'thp')).toBe(true);
  });

  it('infers what came before a recording of a running VM', async () => {
    const recording = await readRecording(excerpt('nested_migrate_thp'));
    const replay = planReplay(recording, null);
    expect(recording.whole).toBe(false);
    expect(replay.guessed).toBe(12);
    expect(replay.premapped).toBeGreaterThan(100);
    expect(replay.params).toMatchObject({ manualProtect: 3 });
  });

  it('guesses slots where there are only faults', () => {
    const builder = new RecordingBuilder();
    for (const gfn of [0x100, 0x101, 0x9000]) {
      builder.add(` q-1 [000] .... 1.0: kvm_page_fault: vcpu 0 rip 0x0 address 0x${gfn.toString(16)}000 error_code 0x4`);
    }
    const replay = planReplay(builder.finish(), null);
    expect(replay.guessed).toBe(2);
    expect(replay.memory.map(({ pages }) => pages)).toEqual([512, 512]);
  });
});

describe.each(['global', 'strict', 'vcpu'])('a replay in order %s', (order) => {
  it.each(['demand_4k_v4_overlap', 'dlperf_2m_v4_eagerN', 'nested_boot_thp', 'nested_migrate_thp'])('of %s', async (name) => {
    const { phases, counter, violations } = await run(trace, { order }, { operand: excerpt(name) });
    expect(violations()).toEqual([]);
    expect(phases['ioctl refused']).toBeUndefined();
    const recording = await readRecording(excerpt(name));
    const recorded = (what: string): number => recording.events.filter((event) => event.what === what).length;
    expect(counter(VmCounter.dirty_log_gets)).toBe(recorded('get'));
    expect(counter(VmCounter.dirty_log_clears)).toBe(recorded('clear'));
    expect(counter(MmuCounter.pf_taken)).toBeGreaterThan(0.5 * (recording.faults - recording.mmioFaults));
  });
});

it('a strict replay takes the faults that were recorded', async () => {
  const { counter } = await run(trace, { order: 'strict' }, { operand: excerpt('dlperf_2m_v4_eagerN') });
  const { faults } = await readRecording(excerpt('dlperf_2m_v4_eagerN'));
  expect(counter(MmuCounter.pf_taken)).toBe(faults);
});

it('a replayed migration notices writes that it would lose', async () => {
  const bugs = { 'harvest-without-flush-before-return': true };
  const { violations } = await run(trace, { order: 'strict' }, { operand: excerpt('nested_migrate_thp'), bugs });
  expect(violations().filter((text) => text.startsWith('lost-write: ')).length).toBeGreaterThan(0);
});
