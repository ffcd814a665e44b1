/**
 * Option tables as options of a command.
 */
import { type Command, Option } from 'commander';
import type { OptionSpec, OptionTable } from '../workloads/option.ts';
import { formatSize } from '../workloads/size.ts';

const ARGUMENTS: Readonly<Record<OptionSpec['kind'], string>> = {
  number: ' <n>',
  size: ' <size>',
  choice: ' <name>',
  flag: '',
};

function helpOf(spec: OptionSpec): string {
  if (spec.kind === 'flag') return spec.help;
  const standard = spec.kind === 'size' ? formatSize(spec.default) : spec.default;
  const choices = spec.kind === 'choice' ? `: ${spec.choices.join(', ')}` : '';
  return `${spec.help}${choices} (default: ${standard})`;
}

/** Values arrive as text, under the option's key: the table parses them, so that all mistakes are told in one way. */
export function addOptions(command: Command, table: OptionTable): void {
  for (const spec of table) {
    const letter = spec.letter ? `-${spec.letter}, ` : '';
    command.addOption(new Option(`${letter}--${spec.long}${ARGUMENTS[spec.kind]}`, helpOf(spec)));
  }
}

/** What commander calls the value of an option. */
const attributeOf = (long: string): string => long.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());

/** The value that commander has for `long`. It takes `--no-x` for the denial of `x`, which is false then. */
function heardValue(long: string, values: Readonly<Record<string, unknown>>): string | boolean | undefined {
  if (long.startsWith('no-')) return values[attributeOf(long.slice('no-'.length))] === false || undefined;
  return values[attributeOf(long)] as string | boolean | undefined;
}

/** What the user gave, by the keys of the table. */
export function givenValues(
  table: OptionTable,
  values: Readonly<Record<string, unknown>>,
): Record<string, string | boolean | undefined> {
  return Object.fromEntries(table.map(({ key, long }) => [key, heardValue(long, values)]));
}
