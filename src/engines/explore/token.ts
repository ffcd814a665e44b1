/**
 * Schedules as short strings: `tdp1:9f3c21ab:sc:a12b3a:x4`.
 *
 * The fields are the version, the hash of the program (see `programHash`), the memory model with the seed of the program's
 * own random numbers where it drew any, the runs of the schedule, and a checksum of the runs. A run is a task and how many
 * steps it takes: a letter for the task (a, b, ..., z, Aa, Ab, ...), and a number where it is not 1.
 */
import { hashText, type MemoryModel } from './program.ts';

export interface ReplayToken {
  readonly hash: number;
  readonly model: MemoryModel;
  readonly seed: number;
  readonly schedule: number[];
}

const VERSION = 'tdp1';

/** A token that cannot be replayed: damaged, of another version, or of another program. */
export class TokenError extends Error {
  override readonly name = 'TokenError';
}

export function formatToken(token: ReplayToken): string {
  const runs = formatRuns(token.schedule);
  const seed = token.seed === 0 ? '' : `@${token.seed.toString(36)}`;
  return [VERSION, token.hash.toString(16).padStart(8, '0'), token.model + seed, runs, checksum(runs)].join(':');
}

/** @throws {TokenError} where the text is no token, or a damaged one */
export function parseToken(text: string): ReplayToken {
  const fields = text.trim().split(':');
  const version = fields[0];
  if (!/^tdp\d+$/.test(version)) throw new TokenError(`"${text}" is no replay token: those begin with ${VERSION}:`);
  if (version !== VERSION) throw new TokenError(`the token is of version ${version}, this program reads ${VERSION}`);
  if (fields.length !== 5) throw new TokenError(`the token has ${fields.length} fields instead of 5: was it cut off?`);
  const [, hash, memory, runs, check] = fields;
  if (checksum(runs) !== check) throw new TokenError('the token is damaged: its schedule does not match its checksum');
  const model = /^(sc|tso)(?:@([0-9a-z]+))?$/.exec(memory);
  if (!/^[0-9a-f]{8}$/.test(hash) || model === null)
    throw new TokenError('the token is damaged: it has no hash or no memory model');
  return {
    hash: Number.parseInt(hash, 16),
    model: model[1] as MemoryModel,
    seed: model[2] === undefined ? 0 : Number.parseInt(model[2], 36),
    schedule: parseRuns(runs),
  };
}

/** @throws {TokenError} where the token was made for another program, or for another version of it */
export function requireHash(token: ReplayToken, hash: number, name: string): void {
  if (token.hash === hash) return;
  throw new TokenError(
    `the token does not fit ${name}: it was made for ${token.hash.toString(16).padStart(8, '0')}, and ${name} is now ` +
      `${hash.toString(16).padStart(8, '0')}. A program that changed has other steps, so the schedule means nothing any more`,
  );
}

/** The schedule as runs: `a12b3a`. */
export function formatRuns(schedule: readonly number[]): string {
  let text = '';
  for (let i = 0; i < schedule.length; ) {
    let n = 1;
    while (schedule[i + n] === schedule[i]) n++;
    text += taskLetters(schedule[i]) + (n > 1 ? n : '');
    i += n;
  }
  return text;
}

function parseRuns(runs: string): number[] {
  const schedule: number[] = [];
  for (const [, high, low, n] of runs.matchAll(/([A-Z]*)([a-z])(\d*)/g)) {
    let task = 0;
    for (const c of high) task = task * 26 + c.charCodeAt(0) - 64;
    task = task * 26 + low.charCodeAt(0) - 97;
    for (let i = n === '' ? 1 : Number(n); i > 0; i--) schedule.push(task);
  }
  return schedule;
}

function taskLetters(task: number): string {
  let text = String.fromCharCode(97 + (task % 26));
  for (let high = Math.floor(task / 26); high > 0; high = Math.floor((high - 1) / 26)) {
    text = String.fromCharCode(65 + ((high - 1) % 26)) + text;
  }
  return text;
}

function checksum(runs: string): string {
  return (hashText(runs) % 1296).toString(36).padStart(2, '0');
}
