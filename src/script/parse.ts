/**
 * The parser of the scenario language: a line is a word and its parameters; `#` begins a comment. See `language.md`.
 */
import { checkScript } from './check.ts';
import { readOperation } from './read-operation.ts';
import type { Script, ScriptPhase } from './script.ts';
import { ScriptError } from './script-error.ts';
import { type PhaseItem, stepsOf } from './steps.ts';

/** Words of the phase that holds what stands before the first `phase`. */
const SETUP = 'setup';

interface OpenPhase {
  readonly words: string;
  readonly line: number;
  readonly items: PhaseItem[];
}

/** Parses and checks the text of a script. `file` is for messages. Errors: ScriptError. */
export function parseScript(text: string, file: string): Script {
  const phases: OpenPhase[] = [];
  for (const [i, source] of text.split('\n').entries()) {
    const line = i + 1;
    const [word, rest] = firstWord(source.replace(/(^|\s)#.*$/, '').trim());
    if (word === '') continue;
    if (word === 'phase') {
      if (rest === '') throw new ScriptError({ file, line, message: "'phase' wants words that say what is done" });
      phases.push({ words: rest, line, items: [] });
      continue;
    }
    if (phases.length === 0) phases.push({ words: SETUP, line, items: [] });
    phases.at(-1)!.items.push(readItem(file, line, word, rest));
  }
  return makeScript(file, phases);
}

/** Puts phases together that were read already: from a text, or from a recording. Errors: ScriptError. */
export function makeScript(file: string, open: readonly OpenPhase[]): Script {
  if (open.length === 0) throw new ScriptError({ file, line: 0, message: 'there is no operation in it' });
  const phases = open.map(({ words, line, items }): ScriptPhase => {
    const operations = items.flatMap((item) => (item.kind === 'operation' ? [item.operation] : []));
    return { words, line, operations, steps: stepsOf(file, items) };
  });
  const script = { file, phases };
  checkScript(script);
  return script;
}

function firstWord(line: string): readonly [string, string] {
  const space = line.search(/\s/);
  return space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space).trim()];
}

function readItem(file: string, line: number, word: string, rest: string): PhaseItem {
  if (word === 'thread') {
    if (!/^[a-z][\w-]*$/i.test(rest)) throw new ScriptError({ file, line, message: `'thread' wants one name, not '${rest}'` });
    return { kind: 'thread', name: rest, line };
  }
  if (word === 'join') {
    if (rest !== '') throw new ScriptError({ file, line, message: `'join' stands alone, '${rest}' is too many` });
    return { kind: 'join', line };
  }
  // The text of a command is its own: no parameter is looked for in it.
  const verbatim = word === 'sys' || word === 'shell';
  const args: string[] = [];
  const keys = new Map<string, string>();
  for (const part of rest === '' ? [] : rest.split(/\s+/)) {
    const equals = verbatim ? -1 : part.indexOf('=');
    if (equals <= 0) {
      args.push(part);
    } else {
      const key = part.slice(0, equals);
      if (keys.has(key)) throw new ScriptError({ file, line, message: `${word}: '${key}=' is given twice` });
      keys.set(key, part.slice(equals + 1));
    }
  }
  return { kind: 'operation', operation: readOperation({ file, line, op: word, args, keys }) };
}
