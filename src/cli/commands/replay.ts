/**
 * `tdpsim replay TOKEN|FILE`: runs a failing schedule again and shows what each thread did.
 */
import { existsSync, readFileSync } from 'node:fs';
import { BUGS } from '../../bugs/index.ts';
import { Execution } from '../../engines/explore/execution.ts';
import { programHash } from '../../engines/explore/program.ts';
import { parseToken, requireHash, TokenError } from '../../engines/explore/token.ts';
import { failureLines } from '../../report/explore-columns.ts';
import { traceSchedule } from '../../report/explore-trace.ts';
import { loadScenario } from '../../scenarios/library.ts';
import { VmProgram } from '../../scenarios/vm-program.ts';
import { UsageError, unknownName, unreadableText } from '../../workloads/usage-error.ts';
import type { CliCommand } from '../command.ts';
import { checkPageFile, writeFailurePage } from '../explore-failure.ts';

const EXIT_BROKEN = 127;

interface Flags {
  readonly until?: string;
  readonly trace?: true;
  readonly html?: string;
  readonly json?: true;
}

export const replay: CliCommand = {
  register(program, { print, style, setExitCode }) {
    program
      .command('replay')
      .argument('<token>', 'what `explore` or `bugs` printed, or a file that holds it')
      .description('run a schedule again and show, thread by thread, what happened')
      .option('--until <step>', 'stop before that step')
      .option('--trace', 'show every step')
      .option('--html <file>', 'write a page that steps through the schedule')
      .option('--json', 'as JSON')
      .action((given: string, { until, trace, html, json }: Flags) => {
        if (until !== undefined && !/^\d+$/.test(until)) throw new UsageError(`--until: '${until}' is no step`);
        checkPageFile(html);
        const { scenario, bugs, token, text } = resolve(given);
        const options = { everyStep: trace === true, until: until === undefined ? Number.POSITIVE_INFINITY : Number(until) };
        const found = traceSchedule(new VmProgram(scenario, { bugs }), token, options);
        if (json) print(JSON.stringify(found, null, 1));
        else for (const line of failureLines(found, style)) print(line);
        if (html !== undefined) writeFailurePage(html, scenario, bugs, text, options.until);
        if (found.finding !== null) setExitCode(EXIT_BROKEN);
        if (json) return;
        if (found.finding !== null) print(`FAIL: ${found.finding.rule} after ${found.steps} steps`);
        else print(`PASS: no rule was broken in ${found.steps} steps`);
      });
  },
};

/** Reads `SCENARIO+BUG@TOKEN`, given itself or in a file. Errors: UsageError. */
function resolve(given: string) {
  const text = (existsSync(given) ? tokenIn(given) : given).trim();
  const at = text.indexOf('@tdp');
  if (at < 0) throw new UsageError(`replay: '${text.slice(0, 60)}' is no token: they look like SCENARIO@tdp1:…`);
  const [name, ...ids] = text.slice(0, at).split('+');
  const scenario = loadScenario(name);
  const known = BUGS.map(({ id }) => id);
  for (const id of ids) if (!known.includes(id)) throw unknownName('bug', id, known);
  const bugs = Object.fromEntries(ids.map((id) => [id, true]));
  try {
    const token = parseToken(text.slice(at + 1));
    const { memory, program } = new Execution(new VmProgram(scenario, { bugs }), token.model);
    requireHash(token, programHash(program, memory.initial, token.model), name);
    return { scenario, bugs, token, text: text.slice(at + 1) };
  } catch (error) {
    if (error instanceof TokenError) throw new UsageError(`replay: ${error.message}`);
    throw error;
  }
}

/** A file of `--out` is JSON, or the token alone. Errors: UsageError. */
function tokenIn(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`replay: ${file}: ${unreadableText(code, 'a file with a token') ?? code}`);
  }
  if (!text.trimStart().startsWith('{')) return text;
  try {
    const { replay: token } = JSON.parse(text) as { replay?: unknown };
    if (typeof token === 'string') return token;
  } catch {
    // Said below: JSON that is cut off has no token either.
  }
  throw new UsageError(`replay: ${file} holds no token`);
}
