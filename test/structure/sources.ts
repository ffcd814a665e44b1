/**
 * The project's source files and what they import.
 */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type ESTree, parseSync } from 'rolldown/utils';
import { ROOT } from '../../src/build/paths.mjs';

export interface Import {
  /** The imported file, relative to the package root. */
  readonly file: string;
  /** The line of the import, from 1. */
  readonly line: number;
  /** Whether only types are imported, of which nothing is left at run time. */
  readonly typeOnly: boolean;
}

export interface Source {
  /** Relative to the package root. */
  readonly file: string;
  readonly text: string;
  readonly program: ESTree.Program;
  /** Imports and re-exports by relative path, dynamic ones and those of types included. */
  readonly imports: readonly Import[];
}

/** The TypeScript and JavaScript files under the given folders of the package. */
export function sourcesUnder(...folders: string[]): Source[] {
  return folders.flatMap((folder) =>
    readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.m?[tj]s$/.test(entry.name))
      .map((entry) => parseSource(path.relative(ROOT, path.join(entry.parentPath, entry.name))))
      .sort((a, b) => (a.file < b.file ? -1 : 1)),
  );
}

function parseSource(file: string): Source {
  const text = readFileSync(path.join(ROOT, file), 'utf8');
  const { program, module, errors } = parseSync(file, text);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0].message}`);
  const requests = [
    ...module.staticImports.map(({ moduleRequest: { value, start }, entries }) => ({
      value,
      start,
      typeOnly: entries.length > 0 && entries.every(({ isType }) => isType),
    })),
    ...module.staticExports.flatMap(({ entries }) =>
      entries.flatMap(({ moduleRequest, isType }) => (moduleRequest ? [{ ...moduleRequest, typeOnly: isType }] : [])),
    ),
    // `import('./x.ts')`: what is computed at run time has no quotes, and is not our business.
    ...module.dynamicImports.map(({ moduleRequest: { start, end } }) => ({
      value: /^(['"])(.*)\1$/.exec(text.slice(start, end))?.[2] ?? '',
      start,
      typeOnly: false,
    })),
  ];
  const imports = requests
    .filter(({ value }) => value.startsWith('.'))
    .map(({ value, start, typeOnly }) => ({
      file: path.join(path.dirname(file), value),
      line: text.slice(0, start).split('\n').length,
      typeOnly,
    }));
  return { file, text, program, imports };
}
