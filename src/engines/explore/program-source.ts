/** Where a program comes from: itself, or a module that every worker can load for itself, since functions cannot travel. */
import { ExploreOptionError } from './options.ts';
import type { Program } from './program.ts';

export interface ProgramSource {
  /** URL of the module (`file:` for files). Node must be able to load it as it is. */
  readonly module: string;
  /** Name of the export: a program, or a function that makes one from `args`. */
  readonly export?: string;
  readonly args?: readonly unknown[];
}

export function isProgram(from: Program | ProgramSource): from is Program {
  return 'threads' in from;
}

/** Loads the program. @throws {ExploreOptionError} where the module has none */
export async function loadProgram(from: Program | ProgramSource): Promise<Program> {
  if (isProgram(from)) return from;
  const exported: Record<string, unknown> = await import(from.module);
  const name = from.export ?? 'default';
  const value = exported[name];
  const program: unknown = typeof value === 'function' ? await value(...(from.args ?? [])) : value;
  if (typeof program !== 'object' || program === null || !('threads' in program) || !('words' in program)) {
    const others = Object.keys(exported).join(', ') || 'none';
    throw new ExploreOptionError(
      `${from.module} has no program "${name}" (an object with words and threads); its exports: ${others}`,
    );
  }
  return program as Program;
}
