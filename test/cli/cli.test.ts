import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../src/build/paths.mjs';

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the command; `act` may do something to the process once it has started. */
function tdpsim(args: readonly string[], act?: (kill: (signal: NodeJS.Signals) => void) => void): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [path.join(ROOT, 'src/cli/launcher.mjs'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (err += data));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
    act?.((signal) => child.kill(signal));
  });
}

const COMMANDS =
  'demo, stress, simulate, sweep, compare, paper, script, conform, walk, kernels, scenarios, explore, replay, bugs, litmus';
const lastLine = (text: string): string => text.trimEnd().split('\n').at(-1) ?? '';
const trace = (name: string): string => path.join(ROOT, 'test/data/traces', `${name}.trace.txt.gz`);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('mistakes are one line on stderr, exit 1', () => {
  it.each([
    [['stress', 'dirty-lgo'], "unknown workload 'dirty-lgo': did you mean 'dirty-log'?"],
    [
      ['stress', 'dirty-log', '-b', '12Q'],
      "-b: '12Q' is no size: give a number of bytes with K, M, G, T or P, for example 4K, 12M, 1G",
    ],
    [['stress', 'dirty-log', '-v', '0'], '-v 0: number of vCPUs must be between 1 and 272'],
    [
      ['stress', 'dirty-log', '-v', '1000'],
      '-v 1000: stress has at most 272 real threads, those beside the vCPUs among them; simulate has up to 1024 vCPUs',
    ],
    [
      ['stress', 'dirty-log', '-v', '272', '-b', '1M'],
      '-v 272: stress has at most 272 real threads, 1 of them beside the vCPUs; simulate has up to 1024 vCPUs',
    ],
    [['simulate', 'dirty-log', '-v', '100000'], '-v 100000: number of vCPUs must be between 1 and 1024'],
    [['compare', ROOT, ROOT], `${ROOT}: is a directory, not a run's JSON`],
    [['script', ROOT], `${ROOT}: is a directory, not a scenario`],
    [['stress', 'dirty-log', '--lokc', 'x'], "unknown option '--lokc' (Did you mean --lock?)"],
    [
      ['stress', 'dirty-log', '--set', 'eager_page_spilt=N'],
      "unknown parameter 'eager_page_spilt': did you mean 'eager_page_split'?",
    ],
    [['stress', 'trace', ROOT], `${ROOT}: is a directory, not a recorded trace`],
    [['stres'], "unknown command 'stres' (Did you mean stress?)"],
    [['frobnicate'], `unknown command 'frobnicate': there are ${COMMANDS}`],
    [['stress', 'dirty-log', '--json', '/no/such/file'], '--json /no/such/file: there is no such folder'],
  ])('%j', async (args, message) => {
    expect(await tdpsim(args)).toEqual({ code: 1, out: '', err: `tdpsim: ${message}\n` });
  });

  it('a trace that is cut off', async () => {
    const cut = path.join(folder, 'cut.gz');
    writeFileSync(cut, readFileSync(trace('memslot_stress_v4')).subarray(0, 20_000));
    expect(await tdpsim(['stress', 'trace', cut])).toEqual({
      code: 1,
      out: '',
      err: `tdpsim: ${cut}: the gzip file is cut off\n`,
    });
  });
});

describe('help', () => {
  it('lists commands, workloads and their options', async () => {
    expect((await tdpsim([])).out).toMatch(/Commands:[\s\S]*demo[\s\S]*stress/);
    expect((await tdpsim(['stress', '--help'])).out).toMatch(/dirty-log[\s\S]*notifier-storm[\s\S]*trace/);
    const { out, code } = await tdpsim(['stress', 'dirty-log', '--help']);
    for (const option of ['-v, --vcpus', '-b, --bytes', '-x, --slots', '--lockstat', '--perturb', 'Options of all workloads:']) {
      expect(out).toContain(option);
    }
    expect(code).toBe(0);
  });
});

describe('runs on real threads', () => {
  it('dirty-log: the lines of the selftest, the report, JSON, the verdict last', async () => {
    const json = path.join(folder, 'run.json');
    const args = ['stress', 'dirty-log', '-v', '2', '-b', '4M', '-i', '2', '-s', 'anonymous_hugetlb_2mb', '--json', json];
    const { code, out, err } = await tdpsim(args);
    expect(err).toBe('');
    expect(code).toBe(0);
    for (const line of [
      /^Populate memory time: \d+\.\d{9}s$/m,
      /^Iteration 2 clear dirty log time: \d+\.\d{9}s$/m,
      /^Get dirty log over 2 iterations took \d+\.\d{9}s\. \(Avg \d+\.\d{9}s\/iteration\)$/m,
      /^ contended +total wait +max wait +avg wait +type +caller/m,
    ]) {
      expect(out).toMatch(line);
    }
    expect(out).not.toContain('\x1b');
    expect(lastLine(out)).toBe('PASS: 9 oracles found nothing wrong at 2 checkpoints and at the end');
    const record = JSON.parse(readFileSync(json, 'utf8'));
    expect(record).toMatchObject({
      schema: 'tdpsim-run',
      schemaVersion: 1,
      workload: 'dirty-log',
      complete: true,
      verdict: { kind: 'PASS', exitCode: 0 },
      vm: { vcpus: 2, lock: 'rwlock', kernel: '6.12', cpu: 'npt' },
    });
    expect(record.measurement.counters.splits_eager).toBe(4);
    expect(record.measurement.faults.taken).toBeGreaterThanOrEqual(2048);
  });

  it('splits by faults where splitting is not eager', async () => {
    const args = [
      'stress',
      'dirty-log',
      '-v',
      '2',
      '-b',
      '4M',
      '-i',
      '2',
      '-s',
      'anonymous_hugetlb_2mb',
      '--set',
      'eager_page_split=N',
      '--json',
      '-',
    ];
    const { measurement } = JSON.parse((await tdpsim(args)).out);
    expect(measurement.counters).toMatchObject({ splits_eager: 0, splits_fault: 4 });
  });

  it.each([
    ['demand-paging', ['-v', '3', '-b', '2M', '--lock', 'spinlock'], /^Overall demand paging rate:\t\d+\.\d{6} pgs\/sec$/m],
    ['demand-paging', ['-v', '3', '-b', '2M', '--kernel', '5.15', '--cpu', 'ept', '--lockstat'], /^lock_stat version 0\.4$/m],
    ['memslot-modification', ['-v', '2', '-b', '1M', '-i', '5'], /^Deleting the slot 5 times took/m],
    ['zap-roots', ['-v', '2', '-b', '1M', '-i', '20'], /^Zapping all roots 20 times took/m],
    ['notifier-storm', ['-v', '2', '-b', '2M', '-i', '30', '-l', '64K', '--perturb', '0.0005'], /^unmap of \d+ ranges took/m],
  ])('%s %j', async (name, args, line) => {
    const { code, out, err } = await tdpsim(['stress', name, ...args]);
    expect({ code, err, verdict: lastLine(out) }).toEqual({ code: 0, err: '', verdict: expect.stringMatching(/^PASS: /) });
    expect(out).toMatch(line);
  });

  it.each(['demand_4k_v4_overlap', 'dlperf_2m_v4_eagerN', 'memslot_stress_v4', 'nested_boot_thp', 'nested_migrate_thp'])(
    'trace of %s',
    async (name) => {
      const { code, out } = await tdpsim(['stress', 'trace', trace(name)]);
      expect({ code, verdict: lastLine(out) }).toEqual({ code: 0, verdict: expect.stringMatching(/^PASS: /) });
      expect(out).toMatch(/^Faults: \d+ recorded, \d+ taken in the replay/m);
    },
  );

  it('ends after --duration', async () => {
    const { code, out } = await tdpsim(['stress', 'zap-roots', '-v', '2', '-b', '1M', '-i', '1000000', '--duration', '0.5']);
    expect(code).toBe(0);
    expect(lastLine(out)).toMatch(/^PASS: .*; ended by --duration$/);
  });

  it('Ctrl-C leaves what was measured so far, marked incomplete, exit 130', async () => {
    const args = ['stress', 'memslot-modification', '-v', '2', '-b', '1M', '-i', '1000000', '-d', '1000'];
    const began = Date.now();
    const { code, out } = await tdpsim(args, (kill) => setTimeout(() => kill('SIGINT'), 2500));
    expect(code).toBe(130);
    expect(out).toContain('incomplete: interrupted');
    expect(out).toMatch(/^Faults$/m);
    expect(lastLine(out)).toBe('INCOMPLETE: interrupted');
    expect(Date.now() - began).toBeLessThan(15_000);
  });
});
