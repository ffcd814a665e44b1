/**
 * `tdpsim walk`: what it costs to walk page tables that are nearly empty, entry by entry, and with the two remedies that were
 * proposed for it.
 */
import { type Command, Option } from 'commander';
import { ITER_MODES, type IterName } from '../../mmu/params.ts';
import { count } from '../../report/quantity.ts';
import { heading } from '../../report/style.ts';
import { table } from '../../report/table.ts';
import { type ZapWalk, zapHelloGuest } from '../../workloads/hello-guest.ts';
import type { CliCommand, Surroundings } from '../command.ts';

/** Entries of a table. */
const ENTRIES = 512;

interface ModeWalks {
  readonly iter: IterName;
  readonly walks: readonly ZapWalk[];
  readonly steps: number;
}

export const walk: CliCommand = {
  register(program: Command, surroundings: Surroundings): void {
    program
      .command('walk')
      .description('steps of the walks that zap the roots of a tiny guest, by address space and level, for each way to walk')
      .addOption(new Option('--iter <name>', 'this way only').choices(Object.keys(ITER_MODES) as IterName[]))
      .option('--json', 'as JSON')
      .action((flags: { iter?: IterName; json?: true }) => {
        const names = flags.iter === undefined ? (Object.keys(ITER_MODES) as IterName[]) : [flags.iter];
        const modes = names.map(measure);
        if (flags.json === true) {
          surroundings.print(JSON.stringify({ schema: 'tdpsim-walk', schemaVersion: 1, modes }, null, 1));
        } else {
          for (const line of walkText(modes, surroundings)) surroundings.print(line);
        }
      });
  },
};

function measure(iter: IterName): ModeWalks {
  const walks = zapHelloGuest(ITER_MODES[iter]);
  return { iter, walks, steps: walks.reduce((sum, { steps }) => sum + steps, 0) };
}

function walkText(modes: readonly ModeWalks[], { style }: Surroundings): string[] {
  const [first] = modes;
  const columns = [
    { title: 'address space' },
    { title: 'zap level' },
    { title: 'entries zapped' },
    ...modes.map(({ iter }) => ({ title: `${iter} steps` })),
  ];
  const rows = first.walks.map(({ asId, level, zapped }, i) => [
    String(asId),
    String(level),
    String(zapped),
    ...modes.map(({ walks }) => count(walks[i].steps)),
  ]);
  const zapped = first.walks.reduce((sum, one) => sum + one.zapped, 0);
  const total = ['total', '', count(zapped), ...modes.map(({ steps }) => count(steps))];
  const lines = [
    heading(style, 'Zapping the roots of a guest that says hello and shuts down (6.12: one walk a level, from 4K up)'),
    ...table(columns, [...rows, total]),
  ];
  const plain = modes.find(({ iter }) => iter === 'plain');
  if (plain !== undefined) {
    lines.push('', `plain: ${count(plain.steps)} steps, one for each entry of ${count(plain.steps / ENTRIES)} tables walked.`);
  }
  return lines;
}
