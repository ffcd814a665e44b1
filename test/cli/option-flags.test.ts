import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { addOptions, givenValues } from '../../src/cli/option-flags.ts';
import { dirtyLog } from '../../src/workloads/dirty-log.ts';
import { parseOptions } from '../../src/workloads/option.ts';

function parse(...args: string[]) {
  const command = new Command();
  addOptions(command, dirtyLog.options);
  command.parse(args, { from: 'user' });
  return parseOptions(dirtyLog.options, givenValues(dirtyLog.options, command.opts()));
}

describe('option flags', () => {
  it('leave every default where nothing is given', () => {
    expect(parse()).toEqual(parseOptions(dirtyLog.options, {}));
  });

  it.each([
    ['-g', { noManualProtect: true }],
    ['--no-manual-protect', { noManualProtect: true }],
    ['-e', { runWhileDisabling: true }],
    ['--live', { live: true }],
  ])('%s is heard', (flag, expected) => {
    expect(parse(flag)).toMatchObject(expected);
  });

  it('take values by letter and by name', () => {
    expect(parse('-v', '3', '--bytes', '12M', '-w', '30')).toMatchObject({
      vcpus: 3,
      bytesPerVcpu: 12 * 2 ** 20,
      writePercent: 30,
    });
  });
});
