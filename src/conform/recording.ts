/**
 * Recordings of what a real kernel did in a script: reading and checking the files.
 *
 * A recording holds its own script, in its operations. Damage is reported with file and line.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { fromBigInt, type Word64 } from '../machine/word64.ts';
import type { KernelName } from '../mmu/generation.ts';
import { makeScript } from '../script/parse.ts';
import { readNumber, readOperation } from '../script/read-operation.ts';
import type { CounterValue, PhaseCounters, PhaseEvent, StateRow } from '../script/record/event.ts';
import type { SpteRun } from '../script/record/spte-run.ts';
import type { Script } from '../script/script.ts';
import { ScriptError } from '../script/script-error.ts';
import type { PhaseItem } from '../script/steps.ts';
import { EVENT_NAMES } from './event-names.ts';
import { type JsonPath, lineOfOffset, lineOfPath } from './json-line.ts';

export interface RecordedPhase {
  readonly n: number;
  readonly words: string;
  /** What each operation said; '' for those that said nothing. */
  readonly results: readonly string[];
  readonly events: readonly PhaseEvent[];
  readonly counters: PhaseCounters;
  /** Undefined where the recording has no dump. */
  readonly end: readonly StateRow[] | null | undefined;
}

export interface Recording {
  readonly file: string;
  /** The kernel as it named itself. */
  readonly kernel: string;
  readonly generation: KernelName;
  readonly scenario: string;
  readonly script: Script;
  readonly phases: readonly RecordedPhase[];
}

/** Versions from which on a generation describes a kernel, newest first. */
const GENERATIONS: readonly (readonly [number, number, KernelName])[] = [
  [6, 13, '6.13'],
  [6, 12, '6.12'],
  [6, 1, '6.1'],
  [5, 18, '5.18'],
  [5, 15, '5.15'],
];

/** Keys of recorded operations that scripts spell otherwise. */
const KEY_NAMES: Readonly<Record<string, string>> = { size_bytes: 'size', off_bytes: 'off', len_bytes: 'len', rw: 'op' };
const NO_KEYS = new Set(['op', 'args', 'at_event', 'result', 'cmd']);

/** A number with more digits than a double holds: it is read as text. */
const LONG_NUMBER = /:[ \t]*(\d{16,})(?=[ \t]*[,}\]])/g;

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Reads a recording, compressed or not. Errors: ScriptError, with the line of the damage. */
export function readRecording(file: string): Recording {
  return parseRecording(readText(file), file);
}

function readText(file: string): string {
  try {
    const bytes = readFileSync(file);
    return (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString('utf8');
  } catch (error) {
    throw new ScriptError({ file, line: 0, message: `cannot be read: ${(error as Error).message}` });
  }
}

/** Reads the text of a recording. Errors: ScriptError. */
export function parseRecording(text: string, file: string): Recording {
  let json: Json;
  try {
    json = JSON.parse(text.replace(LONG_NUMBER, ': "$1"'));
  } catch (error) {
    throw new ScriptError({
      file,
      line: syntaxErrorLine(text, error as Error),
      message: `is no JSON: ${(error as Error).message.split('\n')[0]}`,
    });
  }
  return new Reader(text, file).recording(json);
}

function syntaxErrorLine(text: string, error: Error): number {
  const line = /line (\d+)/.exec(error.message);
  if (line !== null) return Number(line[1]);
  const position = /position (\d+)/.exec(error.message);
  return lineOfOffset(text, position === null ? text.length : Number(position[1]));
}

class Reader {
  readonly #text: string;
  readonly #file: string;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  recording(json: Json): Recording {
    const top = this.#object(json, []);
    const kernel = this.#string(top.kernel, ['kernel']);
    const phases = this.#array(top.phases, ['phases']);
    const items = phases.map((phase, n) => this.#items(this.#object(phase, ['phases', n]), n));
    const script = makeScript(this.#file, items);
    return {
      file: this.#file,
      kernel,
      generation: this.#generation(kernel),
      scenario: typeof top.scenario === 'string' ? top.scenario : this.#file,
      script,
      phases: phases.map((phase, n) => this.#phase(this.#object(phase, ['phases', n]), n)),
    };
  }

  #generation(kernel: string): KernelName {
    const match = /(\d+)\.(\d+)/.exec(kernel);
    const allowed = GENERATIONS.map(([, , name]) => `Linux ${name}`).reverse();
    if (match === null) return this.#fail(['kernel'], `'${kernel}' names no kernel version`, allowed);
    const [major, minor] = [Number(match[1]), Number(match[2])];
    const found = GENERATIONS.find(([a, b]) => major > a || (major === a && minor >= b));
    return found === undefined ? this.#fail(['kernel'], `no model of kernel ${major}.${minor}`, allowed) : found[2];
  }

  #items(phase: Record<string, Json>, n: number): { words: string; line: number; items: PhaseItem[] } {
    const path = ['phases', n, 'ops'] as const;
    const words = typeof phase.words === 'string' && phase.words !== '' ? phase.words : `phase ${n}`;
    const items = this.#array(phase.ops, path).map((json, i): PhaseItem => {
      const op = this.#object(json, [...path, i]);
      const name = this.#string(op.op, [...path, i, 'op']);
      const line = this.#line([...path, i]);
      const args = op.args === undefined ? [] : this.#array(op.args, [...path, i, 'args']).map(String);
      const keys = new Map<string, string>();
      // A command is the rest of its line; so is what is written to a file, which recordings cut in two at its '='.
      if (name === 'shell') args.push(String(op.cmd ?? ''));
      for (const [key, value] of Object.entries(op)) {
        if (NO_KEYS.has(key)) continue;
        if (name === 'sys') args.push(`${key}=${value}`);
        else keys.set(KEY_NAMES[key] ?? key, String(value));
      }
      return { kind: 'operation', operation: readOperation({ file: this.#file, line, op: name, args, keys }) };
    });
    return { words, line: this.#line(['phases', n]), items };
  }

  #phase(phase: Record<string, Json>, n: number): RecordedPhase {
    const at: JsonPath = ['phases', n];
    const changes = this.#array(phase.changes, [...at, 'changes']).map((json, i) => {
      return this.#change(this.#object(json, [...at, 'changes', i]), [...at, 'changes', i]);
    });
    const events = this.#array(phase.events, [...at, 'events']).map((json, i) => {
      const path = [...at, 'events', i];
      return this.#event(this.#object(json, path), path, changes);
    });
    return {
      n,
      words: String(phase.words ?? ''),
      results: (phase.ops as readonly Record<string, Json>[]).map((op) => (typeof op.result === 'string' ? op.result : '')),
      events,
      counters: this.#counters(phase.counters, [...at, 'counters']),
      end: this.#state(phase.state, [...at, 'state']),
    };
  }

  #change(json: Record<string, Json>, path: JsonPath): SpteRun {
    const n = json.n === undefined ? 1 : this.#number(json.n, [...path, 'n']);
    const [stepOld, stepNew] = json.pfn_step === undefined ? [false, false] : this.#array(json.pfn_step, [...path, 'pfn_step']);
    return {
      asId: this.#number(json.as_id, [...path, 'as_id']),
      gfn: this.#number(json.gfn, [...path, 'gfn']),
      level: this.#number(json.level, [...path, 'level']),
      old: this.#word(json.old, [...path, 'old']),
      next: this.#word(json.new, [...path, 'new']),
      by: this.#string(json.by, [...path, 'by']),
      fast: json.src !== undefined,
      n,
      stepOld: stepOld === true,
      stepNew: stepNew === true,
    };
  }

  #event(json: Record<string, Json>, path: JsonPath, changes: readonly SpteRun[]): PhaseEvent {
    const e = this.#string(json.e, [...path, 'e']);
    if (!EVENT_NAMES.has(e)) this.#fail([...path, 'e'], `unknown event '${e}'`, [...EVENT_NAMES]);
    if (e === 'spte') {
      const i = this.#number(json.i, [...path, 'i']);
      const run = changes[i];
      if (run === undefined) this.#fail([...path, 'i'], `there is no change ${i}`, [`0 to ${changes.length - 1}`]);
      return { e, by: run.by, run };
    }
    const by = this.#string(json.by, [...path, 'by']);
    const fields = Object.entries(json).filter(([key]) => key !== 'e' && key !== 'by');
    return { e, by, fields: Object.fromEntries(fields) as Record<string, string | number> };
  }

  #counters(json: Json | undefined, path: JsonPath): PhaseCounters {
    if (json === undefined || json === null) return {};
    const result: Record<string, Record<string, CounterValue>> = {};
    for (const [object, values] of Object.entries(this.#object(json, path))) {
      result[object] = {};
      for (const [name, value] of Object.entries(this.#object(values, [...path, object]))) {
        const { total, delta } = this.#object(value, [...path, object, name]);
        result[object][name] = {
          total: this.#number(total, [...path, object, name, 'total']),
          delta: this.#number(delta, [...path, object, name, 'delta']),
        };
      }
    }
    return result;
  }

  #state(json: Json | undefined, path: JsonPath): readonly StateRow[] | null | undefined {
    if (json === undefined || json === null) return undefined;
    const { end } = this.#object(json, path);
    if (end === undefined || end === null) return end;
    return this.#array(end, [...path, 'end']).map((row, i) => {
      const at = [...path, 'end', i];
      const { gfn, level, table, n, bits } = this.#object(row, at);
      return {
        gfn: this.#number(gfn, [...at, 'gfn']),
        level: this.#number(level, [...at, 'level']),
        table: table === true,
        n: n === undefined ? 1 : this.#number(n, [...at, 'n']),
        bits: this.#string(bits, [...at, 'bits']),
      };
    });
  }

  #object(json: Json | undefined, path: JsonPath): Record<string, Json> {
    if (json === null || typeof json !== 'object' || Array.isArray(json)) this.#fail(path, this.#wants(path, 'an object', json));
    return json as Record<string, Json>;
  }

  #array(json: Json | undefined, path: JsonPath): readonly Json[] {
    if (!Array.isArray(json)) this.#fail(path, this.#wants(path, 'a list', json));
    return json as readonly Json[];
  }

  #string(json: Json | undefined, path: JsonPath): string {
    if (typeof json !== 'string') this.#fail(path, this.#wants(path, 'a text', json));
    return json as string;
  }

  #number(json: Json | undefined, path: JsonPath): number {
    const value = typeof json === 'string' ? readNumber(json) : json;
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) this.#fail(path, this.#wants(path, 'a whole number', json));
    return value as number;
  }

  #word(json: Json | undefined, path: JsonPath): Word64 {
    if (typeof json !== 'string' || !/^0x[0-9a-f]{1,16}$/i.test(json))
      this.#fail(path, this.#wants(path, 'an SPTE in hexadecimal', json));
    return fromBigInt(BigInt(json as string));
  }

  #wants(path: JsonPath, what: string, got: Json | undefined): string {
    const name = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`)).join('');
    return `${name.replace(/^\./, '') || 'the recording'} is ${got === undefined ? 'missing' : JSON.stringify(got).slice(0, 40)}, not ${what}`;
  }

  #line(path: JsonPath): number {
    return lineOfPath(this.#text, path);
  }

  #fail(path: JsonPath, message: string, allowed: readonly string[] = []): never {
    throw new ScriptError({ file: this.#file, line: this.#line(path), message, allowed });
  }
}
