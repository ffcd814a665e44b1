import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keepFinding } from '../../src/cli/explore-failure.ts';
import { explore } from '../../src/engines/explore/explore.ts';
import { loadScenario } from '../../src/scenarios/library.ts';
import { VmProgram } from '../../src/scenarios/vm-program.ts';
import { UsageError } from '../../src/workloads/usage-error.ts';
import { runCommand } from './in-process.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'cli-explore-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const at = (name: string): string => path.join(folder, name);

describe('mistakes of those who explore', () => {
  it.each([
    [['explore'], 'explore: give a scenario, or --all'],
    [['explore', 'fault-agains-fault'], "unknown scenario 'fault-agains-fault': did you mean 'fault-against-fault'?"],
    [['explore', 'fault-against-fault', '--bug', 'no-freeze'], "unknown bug 'no-freeze': did you mean 'no-freeze-before-flush'?"],
    [
      ['explore', 'fault-against-fault', '--policy', 'random', '--preemptions', '2'],
      /^preemptions bound the exhaustive search only/,
    ],
    [['explore', 'fault-against-fault', '--html', '/no/such/page.html'], '--html: there is no folder /no/such'],
    [['explore', '--all', '--html', 'page.html'], '--html: give one scenario, not --all'],
    [['bugs', 'no-freeze'], "unknown bug 'no-freeze': did you mean 'no-freeze-before-flush'?"],
    [['bugs', '--html', 'page.html'], '--html: give the bug that the page is to show'],
    [['bugs', '--jobs', '2'], '--jobs: only --all has work for more than one thread'],
    [['bugs', '--all', '--jobs', '0'], "--jobs: '0' is no number of threads from 1 to 999"],
    [['bugs', '--time', '5'], '--time: give a bug, or --all'],
    [['bugs', '--all', '--time', 'soon'], "--time: 'soon' is no number of seconds"],
    [['replay', 'nonsense'], "replay: 'nonsense' is no token: they look like SCENARIO@tdp1:…"],
    [['replay', 'fault-against-fault@tdp1:00000000:sc:a1:b2'], /^replay: the token is damaged/],
    [
      ['replay', 'fault-against-fault+no-freeze@tdp1:0:sc:a1:b2'],
      "unknown bug 'no-freeze': did you mean 'no-freeze-before-flush'?",
    ],
    [['replay', tmpdir()], `replay: ${tmpdir()}: is a directory, not a file with a token`],
  ])('%j', async (args, message) => {
    const { error, out } = await runCommand(args);
    expect(error).toMatch(
      message instanceof RegExp ? message : new RegExp(`^${message.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`),
    );
    expect(out).toEqual([]);
  });

  it('a file of findings that is cut off', async () => {
    writeFileSync(at('cut.json'), '{"replay": "fault-ag');
    expect((await runCommand(['replay', at('cut.json')])).error).toBe(`replay: ${at('cut.json')} holds no token`);
  });
});

describe('a failure', () => {
  const seeded = ['explore', 'collapse-against-fault', '--bug', 'no-freeze-before-flush', '--policy', 'random'];

  it('is printed, kept once, written as a page, and replayed from what was kept', async () => {
    const args = [...seeded, '--executions', '3000', '--out', at('kept'), '--html', at('page.html')];
    const found = await runCommand(args);
    expect(found.code).toBe(127);
    const [, switches, before] = /^FAIL: mapped-before-flush: .* and (\d+) context switches, of \d+ and (\d+)\)$/.exec(
      found.out.at(-1)!,
    )!;
    expect(Number(before)).toBeGreaterThan(9);
    expect(Number(switches)).toBe(1);
    const files = readdirSync(at('kept')).sort();
    expect(files.map((file) => path.extname(file))).toEqual(['.json', '.token', '.txt']);
    expect(readFileSync(at('page.html'), 'utf8')).toContain('mapped-before-flush');

    for (const file of files.filter((name) => !name.endsWith('.txt'))) {
      const again = await runCommand(['replay', path.join(at('kept'), file)]);
      expect(again.code).toBe(127);
      expect(again.out.at(-1)).toMatch(/^FAIL: mapped-before-flush after \d+ steps$/);
    }
    const text = readFileSync(path.join(at('kept'), files.find((name) => name.endsWith('.txt'))!), 'utf8');
    expect(text).toContain('history of gfn');
  });

  it('is kept by the shortest schedule that comes to it, apart from that of another bug', async () => {
    const bugs = { 'no-freeze-before-flush': true };
    const scenario = loadScenario('collapse-against-fault');
    const [file] = readdirSync(at('kept')).filter((name) => name.endsWith('.token'));
    const short = readFileSync(path.join(at('kept'), file), 'utf8').trim();
    const { findings } = await explore(new VmProgram(scenario, { bugs }), {
      policy: 'random',
      executions: 3000,
      depth: 5000,
      shrink: false,
    });
    const folder = at('twice');
    keepFinding(folder, scenario, bugs, findings[0]);
    const long = readFileSync(path.join(folder, file), 'utf8').trim();
    expect(long.length).toBeGreaterThan(short.length);
    keepFinding(folder, scenario, bugs, { rule: findings[0].rule, token: short.slice(short.indexOf('@') + 1) });
    keepFinding(folder, scenario, bugs, findings[0]);
    expect(readFileSync(path.join(folder, file), 'utf8').trim()).toBe(short);
    expect(file).toContain('+no-freeze-before-flush-mapped-before-flush');
    expect(readdirSync(folder).length).toBe(3);
    writeFileSync(at('a-file'), '');
    expect(() => keepFinding(at('a-file'), scenario, bugs, findings[0])).toThrow(UsageError);
  });

  it('is replayed up to a step, where it is none yet, and as JSON', async () => {
    const [token] = readdirSync(at('kept')).filter((file) => file.endsWith('.token'));
    const some = await runCommand(['replay', path.join(at('kept'), token), '--until', '40', '--json']);
    expect(some.code).toBe(0);
    const { steps, finding, rows } = JSON.parse(some.out.join('\n'));
    expect({ steps, finding }).toEqual({ steps: 40, finding: null });
    expect(rows.every(({ step }: { step: number }) => step <= 40)).toBe(true);
    const every = await runCommand(['replay', path.join(at('kept'), token), '--trace', '--json']);
    expect(JSON.parse(every.out.join('\n')).rows.filter(({ kind }: { kind: string }) => kind === 'step').length).toBeGreaterThan(
      40,
    );
  });
});
