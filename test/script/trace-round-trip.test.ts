/** What `--trace` prints is a recording: it is read to its last line, and a strict replay comes to the same counts. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../src/build/paths.mjs';
import { compareEvents } from '../../src/report/trace-comparison.ts';
import { parseScript } from '../../src/script/parse.ts';
import { TracePrinter } from '../../src/script/print/trace-text.ts';
import { runScript } from '../../src/script/run-script.ts';
import { IOCTL_THREAD } from '../../src/script/script.ts';
import { readRecording } from '../../src/workloads/recording.ts';
import { trace } from '../../src/workloads/trace.ts';
import { run } from '../workloads/coroutine-run.ts';

const SCRIPTS = path.join(ROOT, 'test/data/kvm-truth/scripts');

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'round-trip-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The file that a script's run is printed to. */
function traced(name: string, text: string): string {
  const script = parseScript(text, `${name}.kt`);
  const { machine, phases } = runScript(script, { flushOnEntry: true });
  const lines: string[] = [];
  const printer = new TracePrinter({ print: (line) => lines.push(line), script, kvm: machine.thread(IOCTL_THREAD).vm.kvm });
  for (const [n, phase] of phases.entries()) printer.phase(phase, script.phases[n].operations);
  const file = path.join(folder, `${name}.txt`);
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

const scriptText = (name: string): string => readFileSync(path.join(SCRIPTS, `${name}.kt`), 'utf8');

describe('the trace of', () => {
  it.each(
    readdirSync(SCRIPTS)
      .filter((file) => file.endsWith('.kt') && !file.includes('_1g_'))
      .map((file) => path.basename(file, '.kt')),
  )('%s is read to its last line', async (name) => {
    const recording = await readRecording(traced(name, scriptText(name)));
    expect([recording.notUnderstood, recording.firstNotUnderstood]).toEqual([0, '']);
    expect(recording.whole).toBe(true);
    expect(recording.faults).toBeGreaterThan(0);
  });

  it.each([
    '01_fault_4k',
    '08_dirtylog_4k_eagerY_manual0',
    '08_dirtylog_2m_eagerY_manual3',
    '08_dirtylog_2m_eagerN_manual3',
    '08_dirtylog_2m_eagerN_manual0',
    '09_delete_slot_zap_all',
    '09b_delete_slot_quirk_off',
    '11_mmio_then_slot',
    '20_destroy_mixed',
  ])('%s comes to the same counts when it is replayed', async (name) => {
    const file = traced(name, scriptText(name));
    const { mmuEvents, violations } = await run(trace, { order: 'strict' }, { operand: file });
    const rows = compareEvents((await readRecording(file)).mmuEvents, mmuEvents);
    expect(rows.filter(({ difference }) => difference !== 0)).toEqual([]);
    expect(rows.length).toBeGreaterThan(10);
    expect(violations()).toEqual([]);
  });

  it('a race comes to the same counts, but for faults that were given up', async () => {
    const file = traced('race', scriptText('21_race_fault_4k'));
    const { mmuEvents } = await run(trace, { order: 'strict' }, { operand: file });
    const rows = compareEvents((await readRecording(file)).mmuEvents, mmuEvents);
    const [faults, results, ...others] = rows.filter(({ difference }) => difference !== 0);
    expect(others).toEqual([]);
    expect([faults.name, results.name, faults.difference]).toEqual(['write, not present', 'retry', results.difference]);
  });
});
