/** An operation as a script would say it. */
import { hex } from '../record/event.ts';
import { OPERATIONS, type Operation, type OperationDefinition, type Parameter } from '../vocabulary.ts';

/** Parameters that read better in hexadecimal. */
const HEXADECIMAL = new Set(['gfn', 'size', 'off', 'len']);

export function operationText(operation: Operation): string {
  const definition: OperationDefinition = OPERATIONS[operation.op];
  const values = operation.values as Readonly<Record<string, number | string | undefined>>;
  const words: string[] = [operation.op];
  for (const { name } of definition.args) if (values[name] !== undefined) words.push(valueText(name, values[name]));
  for (const parameter of definition.keys) {
    const value = values[parameter.name];
    if (value !== undefined && !isDefault(parameter, value)) words.push(`${parameter.name}=${valueText(parameter.name, value)}`);
  }
  return words.join(' ');
}

const isDefault = (parameter: Parameter, value: number | string): boolean => parameter.default === value;

function valueText(name: string, value: number | string): string {
  return typeof value === 'number' && HEXADECIMAL.has(name) ? hex(value) : `${value}`;
}
