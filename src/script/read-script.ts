/** Reading a script from a file. */
import { readFileSync } from 'node:fs';
import { unreadableText } from '../workloads/usage-error.ts';
import { parseScript } from './parse.ts';
import type { Script } from './script.ts';
import { ScriptError } from './script-error.ts';

/** What no text has: control characters, and what is no UTF-8. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are looked for
const NO_TEXT = /[\0-\x08\x0e-\x1f\ufffd]/;

/** Reads and checks a script. Errors: ScriptError for a file that cannot be read or is no script. */
export function readScript(file: string): Script {
  return parseScript(readScriptText(file), file);
}

/** The text of a script. Errors: ScriptError. */
export function readScriptText(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new ScriptError({ file, line: 0, message: unreadableText(code, 'a scenario') ?? `cannot be read: ${message}` });
  }
  if (NO_TEXT.test(text)) throw new ScriptError({ file, line: 0, message: 'is no text, but a binary file' });
  return text.replace(/^\ufeff/, '');
}
