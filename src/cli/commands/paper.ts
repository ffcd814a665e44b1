/**
 * `tdpsim paper NAME`, `tdpsim paper --all`: published figures beside simulated ones.
 */
import { writeFileSync } from 'node:fs';
import { deviationOf, type Figure, type Paper, type Scale } from '../../paper/figure.ts';
import { fitEagerSplit } from '../../paper/fit.ts';
import { EAGER_SPLIT_FIT } from '../../paper/fitted-profiles.ts';
import { PAPERS } from '../../paper/index.ts';
import { figureLines, summaryLine } from '../../paper/paper-report.ts';
import { heading } from '../../report/style.ts';
import { SimulationPool } from '../../simulate/pool.ts';
import { UsageError, unknownName } from '../../workloads/usage-error.ts';
import type { CliCommand, Surroundings } from '../command.ts';

interface PaperValues {
  readonly all?: boolean;
  readonly full?: boolean;
  readonly scale?: string;
  readonly fit?: boolean;
  readonly json?: string;
}

/** As large as any guest is published. */
const SCALE_MAX = 2048;

const NAMES = PAPERS.map(({ name }) => name);

export const paper: CliCommand = {
  register(program, surroundings) {
    program
      .command('paper')
      .description('reproduce the figures of published patch series: published, simulated, deviation, fitted or predicted')
      .argument('[name]', NAMES.join(', '))
      .option('--all', 'all of them')
      .option('--scale <n>', 'guests so many times as large as by default, up to the published size (a power of two)')
      .option('--full', 'guests as large as published (takes hours)')
      .option('--fit', 'find the prices again that are fitted to figures of eager-split, and print each round')
      .option('--json <file>', 'write the figures as JSON')
      .action(async (name: string | undefined, values: PaperValues) => {
        await runPapers(choose(name, values), values, surroundings);
      });
  },
};

/** Errors: UsageError. */
function choose(name: string | undefined, { all = false, fit = false }: PaperValues): readonly Paper[] {
  if (fit && (all || (name !== undefined && name !== 'eager-split')))
    throw new UsageError('--fit: only eager-split has fitted prices: tdpsim paper --fit');
  if (fit) return [];
  if (all) {
    if (name !== undefined) throw new UsageError(`paper: give ${name} or --all, not both`);
    return PAPERS;
  }
  if (name === undefined) throw new UsageError(`paper: give a name, or --all: ${NAMES.join(', ')}`);
  const found = PAPERS.find((one) => one.name === name);
  if (found === undefined) throw unknownName('paper', name, NAMES);
  return [found];
}

/** Errors: UsageError. */
function scaleOf({ full = false, scale }: PaperValues): Scale {
  if (scale === undefined) return full ? Number.POSITIVE_INFINITY : 1;
  if (full) throw new UsageError('paper: give --scale or --full, not both');
  const n = Number(scale);
  if (!(n >= 1 && n <= SCALE_MAX && Number.isInteger(Math.log2(n)))) {
    throw new UsageError(`--scale ${scale}: must be a power of two from 1 to ${SCALE_MAX}`);
  }
  return n;
}

async function runPapers(papers: readonly Paper[], values: PaperValues, surroundings: Surroundings): Promise<void> {
  const { print, style, progress, signal } = surroundings;
  const scale = scaleOf(values);
  const pool = new SimulationPool({ signal });
  let started = 0;
  let done = 0;
  const laboratory = {
    run: async (task: Parameters<SimulationPool['run']>[0]) => {
      started++;
      const outcome = await pool.run(task);
      done++;
      progress(`${done} of ${started} simulations done`);
      return outcome;
    },
  };
  const records: { paper: string; figures: (Figure & { deviation: number | null })[] }[] = [];
  try {
    if (values.fit === true) {
      const prices = await fitEagerSplit(laboratory, EAGER_SPLIT_FIT, scale, ({ prices: tried, deviations }) => {
        progress('');
        print(`${JSON.stringify(tried)}  deviations ${JSON.stringify(deviations)}`);
      });
      print(`fitted: ${JSON.stringify(prices)}`);
      return;
    }
    for (const [i, one] of papers.entries()) {
      const figures = await one.run(laboratory, scale);
      progress('');
      if (i > 0) print('');
      print(heading(style, `${one.name}: ${one.title}`));
      print(`  ${one.source}`);
      print(`  ${one.describe(scale)}`);
      for (const line of figureLines(figures)) print(line);
      records.push({ paper: one.name, figures: figures.map((figure) => ({ ...figure, deviation: deviationOf(figure) })) });
    }
  } finally {
    await pool.close();
    progress('');
  }
  print('');
  print(summaryLine(records.flatMap(({ figures }) => figures)));
  if (values.json !== undefined) {
    writeFileSync(
      values.json,
      `${JSON.stringify({ schema: 'tdpsim-papers', scale: Number.isFinite(scale) ? scale : 'full', papers: records }, null, 1)}\n`,
    );
  }
}
