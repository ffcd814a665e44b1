/** `tdpsim kernels`: the behaviours in which kernel generations differ, and the commits that they come from. */
import type { Command } from 'commander';
import { kernelRecord, kernelTable, originTable } from '../../report/kernel-table.ts';
import { heading } from '../../report/style.ts';
import type { CliCommand, Surroundings } from '../command.ts';

export const kernels: CliCommand = {
  register(program: Command, { print, style }: Surroundings): void {
    program
      .command('kernels')
      .description('the modelled kernels: in what they differ, and since which commit')
      .option('--json', 'as JSON')
      .action((flags: { json?: true }) => {
        if (flags.json === true) return print(JSON.stringify(kernelRecord(), null, 1));
        print(heading(style, 'Behaviours'));
        for (const line of kernelTable()) print(line);
        print('');
        print(heading(style, 'Where they come from'));
        for (const line of originTable()) print(line);
      });
  },
};
