import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../src/build/paths.mjs';
import { sourcesUnder } from './sources.ts';

const LINES_MAX = 400;
/** Names that say nothing about what is inside. */
const EMPTY_NAMES = /(^|[-.])(utils?|common|misc|helpers?)([-.]|$)/;
/** Syntax that is more than types: what strips types cannot run it. */
const NOT_ERASABLE = new Set(['TSEnumDeclaration', 'TSModuleDeclaration']);

const folders = ['src', 'workers', 'test', 'bench'].filter((folder) => readdirSync(ROOT).includes(folder));
const sources = sourcesUnder(...folders);

describe('source files', () => {
  it(`have at most ${LINES_MAX} lines`, () => {
    const long = sources.map(({ file, text }) => ({ file, lines: text.trimEnd().split('\n').length }));
    expect(long.filter(({ lines }) => lines > LINES_MAX)).toEqual([]);
  });

  it('have names that say what is inside', () => {
    expect(sources.map(({ file }) => file).filter((file) => file.split('/').some((name) => EMPTY_NAMES.test(name)))).toEqual([]);
  });

  it('have no enums and no namespaces', () => {
    const wrong = sources
      .filter(({ file }) => !file.endsWith('.d.ts'))
      .flatMap(({ file, program }) =>
        program.body
          .map((node) => (node.type === 'ExportNamedDeclaration' ? (node.declaration ?? node) : node))
          .filter(({ type }) => NOT_ERASABLE.has(type))
          .map(({ type }) => `${file}: ${type}`),
      );
    expect(wrong).toEqual([]);
  });

  it('begin with what they are for', () => {
    const silent = sources.filter(
      ({ file, text }) => file.startsWith('src/') && !/^(#!.*\n)?(\/\/ (coroutines|erased)\n)?\/\*\*/.test(text),
    );
    expect(silent.map(({ file }) => file)).toEqual([]);
  });
});

describe('the package root', () => {
  it('holds no sources but the configuration that tools look for there', () => {
    expect(readdirSync(ROOT).filter((name) => /\.[cm]?[tj]sx?$/.test(name))).toEqual(['vitest.config.ts']);
  });
});
