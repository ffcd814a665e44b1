/**
 * `tdpsim conform PATH…`: runs the scripts of recordings and compares, phase by phase, with what the recorded kernel did.
 */
import { readdirSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { conformRecording } from '../../conform/conform.ts';
import type { ConformResult, Mismatch } from '../../conform/phase-comparer.ts';
import { readRecording } from '../../conform/recording.ts';
import { paint } from '../../report/style.ts';
import { UsageError } from '../../workloads/usage-error.ts';
import type { CliCommand, Surroundings } from '../command.ts';

const EXIT_USAGE = 1;
const EXIT_BROKEN = 127;
const RECORDING = /\.json(\.gz)?$/;

/** How one file fared. */
type FileResult = ConformResult | { readonly file: string; readonly error: string };

export const conform: CliCommand = {
  register(program: Command, surroundings: Surroundings): void {
    program
      .command('conform')
      .argument('<path...>', 'recordings (.json or .json.gz), or folders that hold some')
      .description('run the scripts of recordings of a real kernel and compare all that happens')
      .option('--json', 'results as JSON')
      .action((paths: string[], flags: { json?: true }) => conformPaths(paths, flags.json === true, surroundings));
  },
};

function conformPaths(paths: readonly string[], json: boolean, surroundings: Surroundings): void {
  const { print, progress, setExitCode, signal } = surroundings;
  const files = unique(paths.flatMap(recordingsUnder));
  if (files.length === 0) throw new UsageError(`no recordings (.json, .json.gz) in ${paths.join(', ')}`);
  const results: FileResult[] = [];
  for (const [i, file] of files.entries()) {
    if (signal.aborted) break;
    progress(`${i + 1} of ${files.length}: ${file}`);
    const result = conformFile(file);
    results.push(result);
    progress('');
    if (!json) for (const line of resultText(result, surroundings)) print(line);
  }
  const passed = results.filter((result) => 'mismatch' in result && result.mismatch === null).length;
  const damaged = results.filter((result) => 'error' in result).length;
  const summary = { recordings: files.length, passed, mismatched: results.length - passed - damaged, damaged };
  if (json) print(JSON.stringify({ schema: 'tdpsim-conform', schemaVersion: 1, ...summary, results }, null, 1));
  else print(summaryText(summary));
  if (damaged > 0) setExitCode(EXIT_USAGE);
  else if (passed < files.length) setExitCode(EXIT_BROKEN);
}

/** Files that were named twice, in whatever way, count once. */
function unique(files: readonly string[]): readonly string[] {
  const seen = new Set<string>();
  return files.filter((file) => {
    const real = realpathSync(file);
    return !seen.has(real) && seen.add(real);
  });
}

function conformFile(file: string): FileResult {
  try {
    return conformRecording(readRecording(file));
  } catch (error) {
    if (error instanceof UsageError) return { file, error: error.message };
    const { message } = error as Error;
    return { file, kernel: '', phases: 0, mismatch: { ...NOWHERE, got: message } };
  }
}

const NOWHERE: Mismatch = { phase: -1, words: '', what: 'the run', expected: 'an end', got: '', before: [] };

/** The file itself, or the recordings of a folder and of the folders in it, by name. */
function recordingsUnder(name: string): readonly string[] {
  let directory: boolean;
  try {
    directory = statSync(name).isDirectory();
  } catch {
    throw new UsageError(`${name}: no such file or folder`);
  }
  if (!directory) return [name];
  const entries = readdirSync(name, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry) => {
    const full = path.join(name, entry.name);
    if (entry.isDirectory()) return recordingsUnder(full);
    return RECORDING.test(entry.name) ? [full] : [];
  });
}

function resultText(result: FileResult, { style }: Surroundings): readonly string[] {
  if ('error' in result) return [`${paint(style, 'red', 'DAMAGED')}  ${result.error}`];
  const { file, phases, mismatch } = result;
  if (mismatch === null) return [`${paint(style, 'green', 'ok')}  ${file}  (${phases} phases)`];
  const { phase, words, what, expected, got, before } = mismatch;
  const width = Math.max(...['expected', expected, ...before].map((text) => text.length));
  const context = before.map((line) => `    ${line.padEnd(width)}  ${line}`);
  return [
    `${paint(style, 'red', 'MISMATCH')}  ${file}  phase ${phase}: ${words}`,
    `  ${what}`,
    `    ${'expected'.padEnd(width)}  got`,
    ...context,
    `  > ${expected.padEnd(width)}  ${got}`,
  ];
}

function summaryText({ recordings, passed, mismatched, damaged }: Readonly<Record<string, number>>): string {
  const rest = [mismatched > 0 ? `${mismatched} differ` : '', damaged > 0 ? `${damaged} damaged` : ''].filter(
    (text) => text !== '',
  );
  const verdict = passed === recordings ? 'PASS' : 'FAIL';
  return `${verdict}  ${passed} of ${recordings} recordings match${rest.length > 0 ? `, ${rest.join(', ')}` : ''}`;
}
