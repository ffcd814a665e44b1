/**
 * From words to an operation: looks the operation up in the vocabulary and reads its parameters. What is unknown, missing or
 * out of its range is an error that names what would be allowed.
 */
import { ScriptError } from './script-error.ts';
import {
  isOperationName,
  OPERATIONS,
  type Operation,
  type OperationDefinition,
  type Parameter,
  STRUCTURE,
} from './vocabulary.ts';

/** The words of one operation, wherever they come from. */
export interface RawOperation {
  readonly file: string;
  readonly line: number;
  readonly op: string;
  readonly args: readonly string[];
  readonly keys: ReadonlyMap<string, string>;
}

const SIZE_UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
/** Beyond this no number is exact. */
const NUMBER_MAX = Number.MAX_SAFE_INTEGER;

/** Reads one operation. Errors: ScriptError. */
export function readOperation(raw: RawOperation): Operation {
  const fail = (message: string, allowed: readonly string[] = []): never => {
    throw new ScriptError({ file: raw.file, line: raw.line, message, allowed });
  };
  if (!isOperationName(raw.op)) return fail(`unknown operation '${raw.op}'`, [...STRUCTURE, ...Object.keys(OPERATIONS)]);
  const definition: OperationDefinition = OPERATIONS[raw.op];
  const values: Record<string, number | string | undefined> = {};

  const rest = definition.args.at(-1)?.kind === 'rest';
  if (raw.args.length > definition.args.length && !rest) {
    const names = definition.args.map(({ name }) => name);
    fail(`${raw.op}: '${raw.args[definition.args.length]}' is too many`, [
      ...names,
      ...definition.keys.map(({ name }) => `${name}=`),
    ]);
  }
  for (const [i, parameter] of definition.args.entries()) {
    const word = parameter.kind === 'rest' ? raw.args.slice(i).join(' ') : raw.args[i];
    values[parameter.name] = readValue(raw.op, parameter, word === '' ? undefined : word, fail);
  }
  const names = definition.keys.map(({ name }) => name);
  for (const key of raw.keys.keys()) if (!names.includes(key)) fail(`${raw.op}: unknown parameter '${key}='`, names);
  for (const parameter of definition.keys) {
    values[parameter.name] = readValue(raw.op, parameter, raw.keys.get(parameter.name), fail);
  }
  return { op: raw.op, line: raw.line, values } as unknown as Operation;
}

type Fail = (message: string, allowed?: readonly string[]) => never;

function readValue(op: string, parameter: Parameter, word: string | undefined, fail: Fail): number | string | undefined {
  const { name, kind, choices, min, max = NUMBER_MAX } = parameter;
  if (word === undefined) {
    if (parameter.default !== undefined || parameter.optional) return parameter.default;
    return fail(`${op}: '${name}' is missing`, choices);
  }
  if (kind === 'word' || kind === 'rest') {
    if (choices !== undefined && !choices.includes(word)) fail(`${op}: ${name} cannot be '${word}'`, choices);
    return word;
  }
  const value = readNumber(word, kind === 'size');
  if (value === undefined) {
    const allowed = kind === 'size' ? ['decimal', '0x hexadecimal', 'with K, M, G or T'] : ['decimal', '0x hexadecimal'];
    return fail(`${op}: ${name}: '${word}' is no number`, allowed);
  }
  if (min !== undefined && value < min) fail(`${op}: ${name}: ${word} is too small`, [`${min} or more`]);
  if (value > max) fail(`${op}: ${name}: ${word} is too large`, [`up to ${max}`]);
  return value;
}

/** A decimal or hexadecimal number, with a unit where `units` allows one; undefined for anything else. */
export function readNumber(word: string, units = false): number | undefined {
  const match = /^(-?)(0x[0-9a-f]+|[0-9]+)([KMGT]?)$/i.exec(word);
  if (match === null || (match[3] !== '' && !units)) return undefined;
  const value = Number(match[2]) * (SIZE_UNITS[match[3].toUpperCase()] ?? 1);
  return match[1] === '-' ? -value : value;
}
