import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Address,
  count,
  explore,
  formatToken,
  type Memory,
  own,
  type Program,
  type Progress,
  parseToken,
  read,
  relax,
  replay,
  rmw,
  wait,
  wake,
  write,
} from '../../../src/explore.ts';
import data from '../../data/dpor.json' with { type: 'json' };
import { bundlePrograms } from './bundle-programs.ts';
import { programOf, zap } from './programs.ts';

const a = 0 as Address;
const b = 2 as Address;
const at = (n: number): Address => (2 * n) as Address;

let folder = '';
let programs = '';

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'tdpsim-explore-'));
  programs = await bundlePrograms(folder);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Two threads that add 1 without an atomic operation. */
const lostUpdate: Program = {
  name: 'lost update',
  words: 2,
  threads: ['a', 'b'].map((name) => ({
    name,
    *run(m: Memory) {
      const seen = m.load32(yield read(a));
      m.store32(yield write(a), seen + 1);
    },
  })),
  check: (words) => (words[a] === 2 ? null : `the counter is ${words[a]}`),
};

describe('findings', () => {
  test('a lost update, shrunk, with a token that replays it', async () => {
    const report = await explore(lostUpdate);
    expect(report.findings).toHaveLength(1);
    const [finding] = report.findings;
    expect(finding).toMatchObject({ rule: 'check', message: 'the counter is 1', switches: 2 });
    const again = replay(lostUpdate, finding.token);
    expect(again).toMatchObject({ finding: { rule: 'check', message: 'the counter is 1' }, skipped: 0 });
    expect(again.steps.map((s) => `${s.name} ${s.kind}`)).toEqual(
      finding.schedule[0] === 0 ? ['a read', 'b read', 'b write', 'a write'] : ['b read', 'a read', 'a write', 'b write'],
    );
  });

  test('with all findings asked for, the search goes on to its end', async () => {
    const report = await explore(lostUpdate, { findings: Number.POSITIVE_INFINITY });
    expect(report).toMatchObject({ complete: true, executions: 4 });
    expect(report.findings).toHaveLength(1);
  });

  test('the same bug is shrunk to the same few steps, whoever found it', async () => {
    for (const policy of ['exhaustive', 'random', 'pct', 'partial-order'] as const) {
      const report = await explore(zap(3, 1, 0), { policy, executions: 100_000 });
      expect(report.findings, policy).toHaveLength(1);
      const [finding] = report.findings;
      expect(finding.rule).toBe('dead-leaf');
      // A fault reads the root and links its table, the zapper takes the root and zeroes the entry, the fault sets its leaf.
      expect(finding.switches, policy).toBe(2);
      expect(finding.schedule.length, policy).toBe(2 + 2 + finding.schedule[0] + 1);
      expect(finding.stepsFound).toBeGreaterThanOrEqual(finding.schedule.length);
    }
  });

  test('a deadlock names who waits for what', async () => {
    const lock = (m: Memory, first: Address, second: Address) =>
      function* () {
        for (const l of [first, second]) {
          while (m.cmpxchg32(yield rmw(l), 0, 1) !== 0) yield wait(l, 1);
        }
        for (const l of [second, first]) {
          m.store32(yield write(l), 0);
          yield wake(l, 1);
        }
      };
    const abba: Program = {
      name: 'abba',
      words: 4,
      threads: [
        { name: 'forth', run: (m) => lock(m, a, b)() },
        { name: 'back', run: (m) => lock(m, b, a)() },
      ],
      label: (address) => (address === a ? 'lock A' : 'lock B'),
    };
    const report = await explore(abba);
    expect(report.findings[0].rule).toBe('deadlock');
    expect(report.findings[0].message).toBe(
      'forth waits in wait until lock B is no longer 1; back waits in wait until lock A is no longer 1',
    );
    expect(report.findings[0].switches).toBe(2);
    const fine = await explore({ ...abba, threads: [abba.threads[0], { name: 'forth too', run: abba.threads[0].run }] });
    expect(fine).toMatchObject({ complete: true, findings: [], deadlocks: 0 });
  });
});

describe('steps', () => {
  test('a spin loop ends: only turns that can see something new are explored', async () => {
    const spin: Program = {
      name: 'spin',
      words: 4,
      threads: [
        {
          name: 'spinner',
          *run(m: Memory) {
            while (m.load32(yield read(a)) === 0) yield relax(a);
            m.store32(own(b), m.load32(own(a)));
          },
        },
        {
          name: 'setter',
          *run(m: Memory) {
            m.store32(yield write(at(1) as Address), 5);
            m.store32(yield write(a), 1);
          },
        },
      ],
    };
    // The first look comes before the store or after it.
    expect(await explore(spin)).toMatchObject({ executions: 2, complete: true, findings: [] });
    const never = await explore({ ...spin, threads: [spin.threads[0]] });
    expect(never.findings[0]).toMatchObject({
      rule: 'deadlock',
      message: 'spinner spins on word 0, which nobody writes any more',
    });
  });

  test('counts of a word commute with one another, and with nothing else', async () => {
    const counters = (n: number, reader: boolean): Program => ({
      name: 'counters',
      words: 2,
      threads: [
        ...Array.from({ length: n }, (_, i) => ({
          name: `counter ${i}`,
          *run(m: Memory) {
            m.add32(yield count(a), 1);
          },
        })),
        ...(reader
          ? [
              {
                name: 'reader',
                *run(m: Memory) {
                  m.load32(yield read(a));
                },
              },
            ]
          : []),
      ],
    });
    expect((await explore(counters(4, false))).executions).toBe(1);
    // The reader comes after some of the four: 2^4 subsets.
    expect((await explore(counters(4, true))).executions).toBe(16);
  });

  test('the two halves of a 64-bit word conflict; a neighbour does not', async () => {
    const pair = (second: Address): Program => ({
      name: 'pair',
      words: 4,
      threads: [a, second].map((w, i) => ({
        name: `writer ${i}`,
        *run(m: Memory) {
          m.store32(yield write(w), 1);
        },
      })),
    });
    expect((await explore(pair(1 as Address))).executions).toBe(2);
    expect((await explore(pair(2 as Address))).executions).toBe(1);
  });

  test('store buffers: Dekker fails under tso only, and the token says which memory it ran on', async () => {
    const dekker: Program = {
      name: 'dekker',
      words: 8,
      threads: [0, 1].map((i) => ({
        name: `p${i}`,
        *run(m: Memory) {
          m.store32(yield write(at(i)), 1);
          m.store32(own(at(2 + i)), m.load32(yield read(at(1 - i))));
        },
      })),
      check: (w) => (w[4] === 0 && w[6] === 0 ? 'both went in' : null),
    };
    expect(await explore(dekker)).toMatchObject({ complete: true, findings: [] });
    const report = await explore(dekker, { memory: 'tso' });
    expect(report.findings[0]).toMatchObject({ rule: 'check', message: 'both went in' });
    expect(parseToken(report.findings[0].token).model).toBe('tso');
    expect(replay(dekker, report.findings[0].token).finding?.message).toBe('both went in');
  });
});

describe('stopping and going on', () => {
  test.each([
    ['optimal', 'zap(3,1)', data.traces['zap(3,1)']],
    ['none', 'cas(2,3)', data.interleavings['cas(2,3)']],
    ['source', 'lastzero(10)', data.traces['lastzero(10)']],
  ] as const)('a checkpoint is taken up where it was left: %s', async (reduction, name, total) => {
    const file = path.join(folder, `${reduction}.json`);
    let report = await explore(programOf(name), { reduction, executions: 100, checkpoint: file });
    expect(report).toMatchObject({ stopped: 'executions', complete: false, executions: 100 });
    for (let n = 200; !report.complete; n = Math.min(3 * n, 1e9)) {
      report = await explore(programOf(name), { reduction, executions: n, checkpoint: file, resume: file });
    }
    const whole = await explore(programOf(name), { reduction });
    expect(report).toMatchObject({ executions: total, states: whole.states, complete: true });
    if (reduction === 'optimal') expect(report.blocked).toBe(0);
  });

  test('a checkpoint of another program, or of another search, is refused', async () => {
    const file = path.join(folder, 'other.json');
    await explore(programOf('zap(3,1)'), { executions: 10, checkpoint: file });
    await expect(explore(programOf('zap(3,0)'), { resume: file })).rejects.toThrow(/is of zap\(3,1\)/);
    await expect(explore(programOf('zap(3,1)'), { reduction: 'none', resume: file })).rejects.toThrow(/other options/);
    await expect(explore(programOf('zap(3,1)'), { resume: path.join(folder, 'none') })).rejects.toThrow(/cannot read/);
  });

  test('a signal stops the search with what is known', async () => {
    const stop = new AbortController();
    const reports: Progress[] = [];
    const report = await explore(programOf('lastzero(15)'), {
      signal: stop.signal,
      progressEvery_ms: 20,
      onProgress: (p) => {
        reports.push(p);
        if (reports.length === 3) stop.abort();
      },
    });
    expect(report).toMatchObject({ stopped: 'signal', complete: false });
    expect(report.executions).toBeGreaterThan(0);
    const last = reports[2];
    expect(last.executions).toBeLessThanOrEqual(report.executions);
    expect(last.share).toBeGreaterThan(0);
    expect(last.share).toBeLessThan(1);
    expect(last.total?.[0]).toBeLessThanOrEqual(last.total?.[1] ?? 0);
    expect(last.states).toBeGreaterThan(1);
  });

  test('so does a limit of time', async () => {
    const report = await explore(programOf('lastzero(15)'), { seconds: 0.1 });
    expect(report).toMatchObject({ stopped: 'time', complete: false });
    expect(report.seconds).toBeLessThan(2);
  });

  test.each([
    [{ policy: 'random' }, /has no end/],
    [{ policy: 'random', executions: 10, preemptions: 2 }, /exhaustive search only/],
    [{ depth: 0 }, /depth is a whole number from 1 on/],
    [{ jobs: 2 }, /by module/],
    [{ policy: 'best' as never }, /there is no policy "best"/],
  ] as const)('options that make no sense: %o', async (options, message) => {
    await expect(explore(lostUpdate, options)).rejects.toThrow(message);
  });
});

describe('worker threads', () => {
  const source = (name: string): { module: string; export: string; args: string[] } => ({
    module: programs,
    export: 'programOf',
    args: [name],
  });

  test.each([
    ['zap(3,1)', 'optimal', data.traces['zap(3,1)']],
    ['rww(3,1)', 'optimal', data.traces['rww(3,1)']],
    ['lastzero(10)', 'optimal', data.traces['lastzero(10)']],
    ['filesystem(19)', 'optimal', data.traces['filesystem(19)']],
    ['zap(3,0)', 'none', data.interleavings['zap(3,0)']],
  ] as const)('two find what one finds: %s, %s', async (name, reduction, total) => {
    const one = await explore(source(name), { reduction });
    const two = await explore(source(name), { reduction, jobs: 2 });
    expect(one.executions).toBe(total);
    for (const report of [one, two]) expect(report).toMatchObject({ executions: total, complete: true, states: one.states });
  });

  test('the executions of a policy are the same, dealt out or not', async () => {
    const options = { policy: 'random', executions: 6000, repeatEvery: 0 } as const;
    const one = await explore(source('cas(3,2)'), options);
    const two = await explore(source('cas(3,2)'), { ...options, jobs: 2 });
    expect(two).toMatchObject({ executions: 6000, steps: one.steps, stepsMax: one.stepsMax });
    const bug = { module: programs, export: 'zap', args: [2, 1, 0] };
    const first = await explore(bug, { ...options, shrink: false });
    const shared = await explore(bug, { ...options, shrink: false, jobs: 2 });
    expect(shared.findings[0].execution).toBe(first.findings[0].execution);
    expect(shared.findings[0].token).toBe(first.findings[0].token);
  });

  test('a search that two began can be finished by one', async () => {
    const file = path.join(folder, 'pool.json');
    const begun = await explore(source('lastzero(15)'), { jobs: 2, executions: 3000, checkpoint: file });
    expect(begun.stopped).toBe('executions');
    expect(begun.executions).toBeGreaterThanOrEqual(3000);
    const ended = await explore(source('lastzero(15)'), { resume: file });
    expect(ended).toMatchObject({ executions: data.traces['lastzero(15)'], complete: true });
  });

  test('an error in a worker arrives', async () => {
    await expect(explore({ module: programs, export: 'nothing' }, { jobs: 2 })).rejects.toThrow(/has no program "nothing"/);
  });
});

describe('tokens', () => {
  test('a schedule survives', () => {
    const schedule = [0, 0, 0, 1, 25, 26, 26, 51, 52, 701, 702, 0];
    for (const seed of [0, 12345]) {
      const token = { hash: 0xdeadbeef, model: 'tso', seed, schedule } as const;
      expect(formatToken(token)).toMatch(/^[\w:@]+$/);
      expect(parseToken(formatToken(token))).toEqual(token);
    }
  });

  test('one of another program says so', async () => {
    const { findings } = await explore(lostUpdate);
    const changed = { ...lostUpdate, fingerprint: 'second version' };
    expect(() => replay(changed, findings[0].token)).toThrow(/does not fit lost update: it was made for [0-9a-f]{8}/);
  });

  test.each([
    ['hello', /no replay token/],
    ['tdp9:00000000:sc:a:00', /version tdp9/],
    ['tdp1:00000000:sc', /cut off/],
    ['tdp1:00000000:sc:a2:00', /damaged/],
  ])('a bad one is refused: %s', (text, message) => {
    expect(() => parseToken(text)).toThrow(message);
  });
});
