/** Searches that were stopped, in a file: what is left, and what they came to so far. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { SavedFrontier } from './dpor/frontier.ts';
import { ExploreOptionError, type SearchOptions } from './options.ts';
import type { TallyData } from './tally.ts';

const FORMAT = 'tdpsim-explore-1';

export interface Checkpoint {
  readonly format: typeof FORMAT;
  readonly program: string;
  readonly hash: number;
  /** The options that decide what is explored, as text: they may not change in between. */
  readonly search: string;
  readonly tally: TallyData;
  readonly seconds: number;
  /** Of an exhaustive search. */
  readonly frontier: SavedFrontier | null;
  /** Of a policy: the number of its next execution. */
  readonly next: number;
}

/** The options that must be the same when a search goes on. */
export function searchKey(options: SearchOptions): string {
  const { policy, reduction, memory, preemptions, depth, seed, pctDepth } = options;
  return JSON.stringify([policy, reduction, memory, String(preemptions), depth, seed, pctDepth]);
}

export function writeCheckpoint(file: string, checkpoint: Omit<Checkpoint, 'format'>): void {
  const whole = `${file}.part`;
  writeFileSync(whole, JSON.stringify({ format: FORMAT, ...checkpoint }));
  renameSync(whole, file);
}

/** @throws {ExploreOptionError} where the file is no checkpoint, or one of another program or search */
export function readCheckpoint(file: string, program: string, hash: number, options: SearchOptions): Checkpoint {
  let checkpoint: Partial<Checkpoint>;
  try {
    checkpoint = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new ExploreOptionError(`cannot read the checkpoint ${file}: ${(error as Error).message}`);
  }
  if (checkpoint.format !== FORMAT) throw new ExploreOptionError(`${file} is no checkpoint of this version`);
  if (checkpoint.program !== program || checkpoint.hash !== hash) {
    throw new ExploreOptionError(`the checkpoint ${file} is of ${checkpoint.program}, or of another version of ${program}`);
  }
  if (checkpoint.search !== searchKey(options)) {
    throw new ExploreOptionError(`the checkpoint ${file} is of a search with other options: ${checkpoint.search}`);
  }
  return checkpoint as Checkpoint;
}
