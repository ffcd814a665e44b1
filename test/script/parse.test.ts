import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseScript } from '../../src/script/parse.ts';
import { ScriptError } from '../../src/script/script-error.ts';

const SCRIPTS = new URL('../data/kvm-truth/scripts/', import.meta.url);

/** The message of the error that `text` causes. */
function mistake(...lines: string[]): string {
  try {
    parseScript(lines.join('\n'), 'a.kt');
  } catch (error) {
    if (error instanceof ScriptError) return error.message;
    throw error;
  }
  throw new Error('no error');
}

const VM = 'vm vcpus=2';
const MEM = 'mem A type=4k size=4M';

describe('the parser', () => {
  it.each(readdirSync(SCRIPTS))('reads the recorded script %s', (file) => {
    const text = readFileSync(new URL(file, SCRIPTS), 'utf8');
    const { phases } = parseScript(text, file);
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    expect(phases.length).toBe(lines.filter((line) => line.startsWith('phase ')).length);
    expect(phases.flatMap(({ operations }) => operations).length).toBe(lines.filter((line) => !line.startsWith('phase ')).length);
  });

  it('reads numbers in decimal and hexadecimal, sizes with units, and comments', () => {
    const { phases } = parseScript(
      `${VM} # two\nmem B type=2m size=0x400000\n${MEM}\nslot 1 gfn=0x10 npages=256 mem=A off=64K`,
      'a.kt',
    );
    const [, b, a, slot] = phases[0].operations;
    expect(b).toMatchObject({ op: 'mem', line: 2, values: { mem: 'B', type: '2m', size: 0x40_0000, populate: 0 } });
    expect(a.values).toMatchObject({ size: 4 * 2 ** 20 });
    expect(slot.values).toEqual({ id: 1, gfn: 16, npages: 256, mem: 'A', off: 0x1_0000, flags: 0, as: 0 });
  });

  it('keeps the text of commands as it is', () => {
    const { phases } = parseScript(`sys /sys/filter new_spte!=0x5a0\n${VM}\nshell sh /mnt/age.sh a=b`, 'a.kt');
    expect(phases[0].operations[0].values).toEqual({ path: '/sys/filter', value: 'new_spte!=0x5a0' });
    expect(phases[0].operations[2].values).toEqual({ command: 'sh /mnt/age.sh a=b' });
  });
});

describe('steps', () => {
  const steps = (...lines: string[]): unknown =>
    parseScript([VM, MEM, 'slot 1 gfn=0x10 npages=256 mem=A', 'phase p', ...lines].join('\n'), 'a.kt').phases[1].steps.map(
      ({ threads }) => threads.map(({ name, operations }) => `${name}: ${operations.map(({ op }) => op).join(' ')}`),
    );

  it('runs operations one after the other', () => {
    expect(steps('touch vcpu=1 gfn=16 op=r', 'setflags 1 flags=1', 'shell x')).toEqual([
      ['vcpu1: touch'],
      ['ioctl: setflags'],
      ['sh: shell'],
    ]);
  });

  it('runs what follows atouch beside it, until wait', () => {
    expect(
      steps('atouch vcpu=0 gfn=16 op=r', 'atouch vcpu=1 gfn=16 op=w', 'getlog 1', 'setflags 1 flags=0', 'wait', 'getlog 1'),
    ).toEqual([['vcpu0: atouch', 'vcpu1: atouch', 'ioctl: getlog setflags'], ['ioctl: getlog']]);
  });

  it('runs named threads side by side, until join', () => {
    expect(steps('thread a', 'touch vcpu=0 gfn=16 op=r', 'thread b', 'zapall', 'getlog 1', 'join', 'zapall')).toEqual([
      ['a: touch', 'b: zapall getlog'],
      ['ioctl: zapall'],
    ]);
  });

  it('lets an expectation wait for what was started', () => {
    expect(steps('atouch vcpu=0 gfn=16 op=r', 'expect mapped gfn=16')).toEqual([['vcpu0: atouch'], ['ioctl: expect']]);
  });
});

describe('mistakes', () => {
  it.each([
    [['vn vcpus=1'], /^a\.kt:1: unknown operation 'vn' \(allowed: phase, thread, join, param, .*expect\)$/],
    [[VM, '', 'mem A sise=4M'], /^a\.kt:3: mem: unknown parameter 'sise=' \(allowed: type, size, populate\)$/],
    [[VM, 'mem A'], /^a\.kt:2: mem: 'size' is missing$/],
    [[VM, 'mem A size=4X'], /^a\.kt:2: mem: size: '4X' is no number \(allowed: decimal, 0x hexadecimal, with K, M, G or T\)$/],
    [[VM, 'mem A size=4M size=8M'], /^a\.kt:2: mem: 'size=' is given twice$/],
    [[VM, 'mem A B size=4M'], /^a\.kt:2: mem: 'B' is too many/],
    [[VM, 'mem A type=3k size=4M'], /^a\.kt:2: mem: type cannot be '3k' \(allowed: 4k, thp, 2m, 1g\)$/],
    [['touch vcpu=0 gfn=1 op=r'], /^a\.kt:1: 'touch' before 'vm'/],
    [[VM, VM], /^a\.kt:2: a script has one VM/],
    [['vm entries=3'], /^a\.kt:1: vm: entries=3: a table has a power of two of entries/],
    [['vm entries=1024'], /^a\.kt:1: vm: entries=1024/],
    [['vm levels=6'], /^a\.kt:1: vm: levels=6 \(allowed: 4, 5\)$/],
    [['vm manual=2'], /^a\.kt:1: vm: manual=2 \(allowed: 0, 1, 3\)$/],
    [['vm ad=0'], /^a\.kt:1: vm: ad=0: NPT always has A\/D bits/],
    [['vm dirty_ring=100'], /^a\.kt:1: vm: dirty_ring=100 bytes/],
    [[VM, 'mem A type=2m size=3M'], /^a\.kt:2: mem A: 3145728 bytes are no whole pages \(allowed: multiples of 2097152\)$/],
    [[VM, MEM, MEM], /^a\.kt:3: memory 'A' is there already$/],
    [[VM, MEM, 'slot 1 gfn=0 npages=1 mem=B'], /^a\.kt:3: there is no memory 'B' \(allowed: A\)$/],
    [[VM, MEM, 'slot 1 gfn=0x10 npages=2048 mem=A'], /^a\.kt:3: 8388608 bytes from 0 on go beyond memory 'A'/],
    [[VM, MEM, 'slot 1 gfn=0x10 npages=1 mem=A off=100'], /^a\.kt:3: slot: off=100 is within a page/],
    [[VM, MEM, 'slot 1 gfn=0x1000000000 npages=1 mem=A'], /^a\.kt:3: gfn 0x1000000000 lies beyond guest memory/],
    [[VM, 'touch vcpu=2 gfn=1 op=r'], /^a\.kt:2: there is no vCPU 2 \(allowed: 0 to 1\)$/],
    [[VM, 'touch vcpu=0 gfn=1 n=0 op=r'], /^a\.kt:2: touch: n: 0 is too small \(allowed: 1 or more\)$/],
    [
      [VM, 'thread a', 'touch vcpu=0 gfn=1 op=r', 'thread b', 'touch vcpu=0 gfn=1 op=r'],
      /^a\.kt:5: vCPU 0 runs on thread 'a' at the same time$/,
    ],
    [[VM, 'join'], /^a\.kt:2: 'join' without a 'thread' before it$/],
    [[VM, 'thread a b'], /^a\.kt:2: 'thread' wants one name/],
    [[VM, 'thread a', 'wait'], /^a\.kt:3: 'wait' cannot stand in a thread$/],
    [['phase'], /^a\.kt:1: 'phase' wants words/],
    [['# nothing'], /^a\.kt: there is no operation in it$/],
  ])('%j', (lines, message) => {
    expect(mistake(...lines)).toMatch(message);
  });
});

describe('what makes no sense is refused, by file and line', () => {
  const BASE = 'vm vcpus=1\nmem A size=4M\nslot 1 gfn=16 npages=4 mem=A\n';

  it.each([
    ['getlog 1 as=9', 'f.kt:4: getlog: as: 9 is too large (allowed: up to 1)'],
    ['setflags 1 flags=255', 'f.kt:4: setflags: flags: 255 is too large (allowed: up to 3)'],
    ['destroy\ntouch vcpu=0 gfn=16 op=w', "f.kt:5: 'touch' after 'destroy': there is no VM any more"],
    ['destroy\ndestroy', "f.kt:5: 'destroy' after 'destroy': there is no VM any more"],
    ['thread a\nthread b\njoin', "f.kt:4: thread 'a' has no operation"],
    ['thread vcpu0\nzapall\nthread g\ntouch vcpu=0 gfn=16 op=w', "f.kt:7: vCPU 0 runs on thread 'vcpu0' at the same time"],
    ['expect mapped', "f.kt:4: expect mapped: 'gfn' is missing"],
    ['expect counter name=pages_4k', "f.kt:4: expect counter: 'delta' or 'total' is missing"],
    ['expect dirty slot=1', "f.kt:4: expect dirty: 'n' or 'gfn' is missing"],
    ['expect mapped gfn=16 bits=zz', 'f.kt:4: expect mapped: bits=zz (allowed: 0x and lower-case hexadecimal)'],
    ['mem code size=4M', "f.kt:4: memory 'code' is that of the guest's code (allowed: any other name)"],
  ])('%j', (lines, message) => {
    expect(() => parseScript(`${BASE}${lines}\n`, 'f.kt')).toThrow(message);
  });
});
