/** The behaviours of kernel generations beside each other, and where each comes from. */
import type { Word64 } from '../machine/word64.ts';
import { KERNELS, type KernelGeneration } from '../mmu/generation.ts';
import { type BehaviourName, GENERATION_ORIGINS } from '../mmu/generation-origins.ts';
import { table } from './table.ts';

const GENERATIONS: readonly KernelGeneration[] = Object.values(KERNELS);
const BEHAVIOURS = Object.keys(GENERATION_ORIGINS) as BehaviourName[];

const isWord = (value: unknown): value is Word64 => typeof value === 'object' && value !== null && 'lo' in value && 'hi' in value;

/** A value of a behaviour as a cell of a table. */
export function behaviourText(value: KernelGeneration[BehaviourName]): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (isWord(value)) return value.hi === 0 && value.lo === 0 ? '0' : 'bit 63';
  if (Array.isArray(value)) return value.map(String).join(' ');
  return String(value);
}

/** One row a behaviour, one column a generation. */
export function kernelTable(): string[] {
  const columns = [{ title: 'behaviour', align: 'left' as const }, ...GENERATIONS.map(({ name }) => ({ title: name }))];
  const rows = BEHAVIOURS.map((name) => [
    GENERATION_ORIGINS[name].label,
    ...GENERATIONS.map((generation) => behaviourText(generation[name])),
  ]);
  return table(columns, rows);
}

/** For each behaviour the changes behind it, a line each. */
export function originTable(): string[] {
  const columns = ['behaviour', 'since', 'commit', 'change'].map((title) => ({ title, align: 'left' as const }));
  const rows = BEHAVIOURS.flatMap((name) =>
    GENERATION_ORIGINS[name].changes.map(({ release, commit, subject }, i) => [
      i === 0 ? GENERATION_ORIGINS[name].label : '',
      release,
      commit ?? '-',
      subject,
    ]),
  );
  return table(columns, rows);
}

/** All of it for other programs. */
export function kernelRecord(): Readonly<Record<string, unknown>> {
  const behaviours = BEHAVIOURS.map((name) => {
    const values = Object.fromEntries(GENERATIONS.map((generation) => [generation.name, behaviourText(generation[name])]));
    return { name, ...GENERATION_ORIGINS[name], values };
  });
  return { schema: 'tdpsim-kernels', schemaVersion: 1, kernels: GENERATIONS.map(({ name }) => name), behaviours };
}
