import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../src/build/paths.mjs';

const LAUNCHER = path.join(ROOT, 'src/cli/launcher.mjs');
const DATA = path.join(ROOT, 'test/data/kvm-truth');
const folder = mkdtempSync(path.join(tmpdir(), 'tdpsim-script-'));

function tdpsim(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [LAUNCHER, ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  return { status, stdout, stderr };
}

function file(name: string, text: string): string {
  const full = path.join(folder, name);
  writeFileSync(full, text);
  return full;
}

const failingScript = (): string =>
  file('failing.kt', 'vm vcpus=1\nmem A size=4M\nslot 1 gfn=16 npages=1 mem=A\nexpect mapped gfn=16\n');

describe('tdpsim script', () => {
  it('prints the phases of a script', () => {
    const { status, stdout } = tdpsim('script', path.join(DATA, 'scripts/13_dontneed_thp.kt'));
    expect(status).toBe(0);
    expect(stdout).toContain(
      'phase 2: host MADV_DONTNEED of ONE 4K page (index 7) inside the first THP\n  madvise A off=0x7000 len=0x1000',
    );
  });

  it('reports a mistake in one line, by file and line', () => {
    const bad = file('bad.kt', 'vm vcpus=1\nmem A size=4M\nslot 1 gfn=0x10 npages=2048 mem=A\n');
    const { status, stdout, stderr } = tdpsim('script', bad);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toBe(`tdpsim: ${bad}:3: 8388608 bytes from 0 on go beyond memory 'A' (allowed: up to 4194304 bytes)\n`);
  });

  it('ends with 127 where an expectation fails', () => {
    const failing = failingScript();
    const { status, stdout } = tdpsim('script', failing);
    expect(status).toBe(127);
    expect(stdout).toBe(`FAIL  ${failing}:4: expectation failed: gfn 0x10 is not mapped\n`);
  });

  it('writes recordings that conform reads', () => {
    const json = execFileSync(
      process.execPath,
      [LAUNCHER, 'script', '--json', '--flush-on-entry', path.join(DATA, 'scripts/29_ad_bits.kt')],
      { encoding: 'utf8' },
    );
    const { status, stdout } = tdpsim('conform', file('run.json', json));
    expect([status, stdout.split('\n').at(-2)]).toEqual([0, 'PASS  1 of 1 recordings match']);
  });
});

describe.each(['schedule', 'threads', 'virtual'])('tdpsim script --engine %s', (engine) => {
  const racing = () =>
    file(
      'racing.kt',
      `vm vcpus=2
mem A type=2m size=4M populate=1
slot 1 gfn=0x10000 npages=1024 mem=A
setflags 1 flags=1
phase race
thread guest
touch vcpu=0 gfn=0x10000 n=200 op=w
touch vcpu=1 gfn=0x10000 n=200 op=w
thread host
setflags 1 flags=0
getlog 1
join
`,
    );

  it('prints phases and a verdict', () => {
    const { status, stdout } = tdpsim('script', racing(), '--engine', engine);
    expect(stdout).toMatch(/phase 1: race\n {2}touch vcpu=0 gfn=0x10000 n=200 op=w {2}=> ok\n/);
    expect(stdout).toContain('  statistics   vm: ');
    expect([status, stdout.split('\n').at(-2)]).toEqual([0, 'PASS  9 oracles found nothing wrong at the end']);
  });

  it('ends with 127 where an expectation fails', () => {
    const { status, stdout } = tdpsim('script', failingScript(), '--engine', engine);
    expect([status, stdout.split('\n').at(-2)]).toEqual([
      127,
      `FAIL  ${failingScript()}:4: expectation failed: gfn 0x10 is not mapped`,
    ]);
  });

  it('writes JSON and the text of a trace', () => {
    const json = JSON.parse(tdpsim('script', racing(), '--engine', engine, '--json').stdout);
    expect(json).toMatchObject({ engine, verdict: { kind: 'PASS', exitCode: 0 }, phases: [{ n: 0 }, { n: 1 }] });
    const trace = tdpsim('script', racing(), '--engine', engine, '--trace').stdout;
    expect(trace).toMatch(/: kvm_page_fault: vcpu 0 rip 0x0 address 0x0000000010000000 error_code 0x/);
    expect(trace.split('\n').at(-2)).toBe('# PASS  9 oracles found nothing wrong at the end');
  });
});

describe('tdpsim conform', () => {
  it('compares files and folders, and counts in the last line', () => {
    const { status, stdout } = tdpsim(
      'conform',
      path.join(DATA, 'linux-6.12/05_misaligned_slot.json.gz'),
      path.join(DATA, 'linux-6.12/28_dirty_ring.json.gz'),
    );
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /^ok {2}.*05_misaligned_slot\.json\.gz {2}\(3 phases\)\nok {2}.*28_dirty_ring\.json\.gz {2}\(5 phases\)\nPASS {2}2 of 2 recordings match\n$/,
    );
  });

  it('shows a mismatch side by side, and ends with 127', () => {
    const json = execFileSync(
      process.execPath,
      [LAUNCHER, 'script', '--json', path.join(DATA, 'scripts/05_misaligned_slot.kt')],
      { encoding: 'utf8' },
    );
    const wrong = file('wrong.json', json.replace('"bits": "0xe67"', '"bits": "0xe65"'));
    const { status, stdout } = tdpsim('conform', wrong);
    expect(status).toBe(127);
    expect(stdout).toMatch(
      /^MISMATCH {2}.*wrong\.json {2}phase 1: .*\n {2}page table at the end, row \d+\n {4}expected +got\n {2}> gfn .* 0xe65 +gfn .* 0xe67\nFAIL {2}0 of 1 recordings match, 1 differ\n$/,
    );
  });

  it('goes on after a damaged recording, and ends with 1', () => {
    const damaged = file('damaged.json', '{\n"kernel": "Linux 6.12",\n"phases": 7}');
    const { status, stdout } = tdpsim('conform', damaged, path.join(DATA, 'linux-6.12/05_misaligned_slot.json.gz'));
    expect(status).toBe(1);
    expect(stdout).toBe(
      `DAMAGED  ${damaged}:3: phases is 7, not a list\nok  ${path.join(DATA, 'linux-6.12/05_misaligned_slot.json.gz')}  (3 phases)\nFAIL  1 of 2 recordings match, 1 damaged\n`,
    );
  });

  it('takes a file once, however often and in whatever way it is named', () => {
    const whole = path.join(DATA, 'linux-6.12/05_misaligned_slot.json.gz');
    const { stdout } = tdpsim('conform', whole, path.relative(process.cwd(), whole), whole);
    expect(stdout.split('\n').at(-2)).toBe('PASS  1 of 1 recordings match');
  });

  it('wants a recording', () => {
    expect(tdpsim('conform', folder, '/nowhere').stderr).toBe('tdpsim: /nowhere: no such file or folder\n');
  });
});
