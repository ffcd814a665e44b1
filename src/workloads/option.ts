/**
 * Options of workloads as tables: from one row come the parsing, the default, the help and the check of the value.
 */
import { parseSize } from './size.ts';
import { UsageError, unknownName } from './usage-error.ts';
import type { WorkloadOptions } from './workload.ts';

interface OptionBase {
  /** Key in `WorkloadOptions`. */
  readonly key: string;
  /** The selftest's letter. */
  readonly letter?: string;
  /** The long name, without dashes. */
  readonly long: string;
  readonly help: string;
}

export interface NumberOption extends OptionBase {
  readonly kind: 'number';
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** Whether fractions are allowed. */
  readonly fraction?: boolean;
}

export interface SizeOption extends OptionBase {
  readonly kind: 'size';
  /** Bytes. */
  readonly default: number;
  /** The value is a positive multiple of so many bytes. */
  readonly unit: number;
}

export interface FlagOption extends OptionBase {
  readonly kind: 'flag';
}

export interface ChoiceOption extends OptionBase {
  readonly kind: 'choice';
  readonly default: string;
  readonly choices: readonly string[];
}

export type OptionSpec = NumberOption | SizeOption | FlagOption | ChoiceOption;

export type OptionTable = readonly OptionSpec[];

/** How a row is called in messages: `-v`, or `--pace`. */
export const optionName = (spec: OptionSpec): string => (spec.letter ? `-${spec.letter}` : `--${spec.long}`);

/** What the value says, units first: the help without its details. */
const subject = (spec: OptionSpec): string => spec.help.split(/[;,(:]/)[0].trim();

/** The value of one option as the user wrote it. Errors: UsageError. */
export function parseOption(spec: OptionSpec, text: string): number | string {
  const name = optionName(spec);
  if (spec.kind === 'size') {
    const bytes = parseSize(text, name);
    if (bytes <= 0 || bytes % spec.unit !== 0) {
      const wanted = spec.unit === 1 ? 'at least one byte' : `a positive multiple of ${spec.unit} bytes`;
      throw new UsageError(`${name} ${text}: must be ${wanted}`);
    }
    return bytes;
  }
  if (spec.kind === 'choice') {
    if (!spec.choices.includes(text)) throw unknownName(`value for ${name}`, text, spec.choices);
    return text;
  }
  if (spec.kind === 'flag') throw new UsageError(`${name} takes no value`);
  const value = /^-?(0x[0-9a-f]+|\d+(\.\d+)?(e\d+)?)$/i.test(text.trim()) ? Number(text) : Number.NaN;
  if (Number.isNaN(value) || (!spec.fraction && !Number.isInteger(value))) {
    const number = spec.fraction ? 'number' : 'whole number';
    throw new UsageError(`${name}: '${text}' is no ${number} from ${spec.min} to ${spec.max} (${subject(spec)})`);
  }
  if (value < spec.min || value > spec.max) {
    throw new UsageError(`${name} ${text}: ${subject(spec)} must be between ${spec.min} and ${spec.max}`);
  }
  return value;
}

/** All options of a table: what the user gave, as text (or true for flags), and defaults for the rest. */
export function parseOptions(table: OptionTable, given: Readonly<Record<string, string | boolean | undefined>>): WorkloadOptions {
  const options: Record<string, number | string | boolean> = {};
  for (const spec of table) {
    const value = given[spec.key];
    if (spec.kind === 'flag') options[spec.key] = value === true;
    else options[spec.key] = value === undefined ? spec.default : parseOption(spec, String(value));
  }
  return options;
}

export const numberOf = (options: WorkloadOptions, key: string): number => options[key] as number;
export const flagOf = (options: WorkloadOptions, key: string): boolean => options[key] === true;
export const textOf = (options: WorkloadOptions, key: string): string => String(options[key]);
