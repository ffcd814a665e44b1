import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../src/build/paths.mjs';
import { explore } from '../../src/engines/explore/explore.ts';
import { moduleSource } from '../../src/scenarios/program-source.ts';
import { parseScenario } from '../../src/scenarios/scenario.ts';
import { VmProgram } from '../../src/scenarios/vm-program.ts';
import { runCommand } from '../cli/in-process.ts';

const FAILURE_GUIDE = path.join(ROOT, 'src/report/reading-a-failure.md');
const SCENARIO_GUIDE = path.join(ROOT, 'src/scenarios/writing-scenarios.md');
/** `UPDATE_GUIDES=1` writes what the commands print into the guides. */
const update = process.env.UPDATE_GUIDES === '1';

/** The block of code behind a comment with its name. */
const block = (text: string, name: string): RegExpExecArray =>
  new RegExp(`(<!-- ${name} -->\n\`\`\`[a-z]*\n)([^]*?)(\`\`\`)`).exec(text)!;

describe('the guide to reading a failure', () => {
  it('shows what the command prints', async () => {
    const text = readFileSync(FAILURE_GUIDE, 'utf8');
    const args = [
      'explore',
      'collapse-against-fault',
      '--bug',
      'no-freeze-before-flush',
      '--policy',
      'random',
      '--executions',
      '3000',
    ];
    const { out, code } = await runCommand(args);
    expect(code).toBe(127);
    // Between the line of figures and that of the token.
    const shown = `${out.slice(2, out.findIndex((line) => line.startsWith('replay it:')) - 1).join('\n')}\n`;
    const [whole, head, inside, tail] = block(text, 'failure');
    if (update)
      writeFileSync(
        FAILURE_GUIDE,
        text.replace(whole, () => head + shown + tail),
      );
    else expect(inside).toBe(shown);
  });
});

describe('the guide to writing scenarios', () => {
  const text = readFileSync(SCENARIO_GUIDE, 'utf8');

  it('has a script that can be explored, and holds', async () => {
    const scenario = parseScenario(block(text, 'script')[2], 'mine', 'mine.kt');
    const { findings, executions } = await explore(new VmProgram(scenario), { policy: 'random', executions: 100, depth: 5000 });
    expect({ findings, executions }).toEqual({ findings: [], executions: 100 });
  });

  it('has a program in which a bit is lost', async () => {
    // Inside the package, so that its own name can be imported.
    const file = path.join(ROOT, 'dist', `guide-${process.pid}.ts`);
    writeFileSync(file, block(text, 'program')[2]);
    try {
      const { findings } = await explore(await moduleSource(file), {});
      expect(findings.map(({ message }) => message)).toEqual([expect.stringMatching(/^the word is [12]: a failed exchange/)]);
    } finally {
      rmSync(file);
    }
  });
});
