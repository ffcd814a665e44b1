import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { rolldown } from 'rolldown';
import { transformSync } from 'rolldown/utils';
import { afterEach, describe, expect, it } from 'vitest';
import { EraseError, erase, erasePlugin } from '../../src/build/erase-plugin.mjs';

/** What `erase` makes of a sample, or the sample itself where there is nothing to erase. */
const erased = (code: string): string => erase(code, 'sample.ts')?.code ?? code;

/** Runs `main()` of a sample twice, as coroutines with every step granted at once and erased, and returns both results. */
function runBothWays(code: string): { coroutines: unknown; erased: unknown } {
  const points = 'const read = (a) => a, write = (a) => a, rmw = (a) => a, spend = () => { log.push("spend"); };';
  const load = (source: string): { main: () => unknown; log: unknown[] } => {
    const { code: plain } = transformSync('sample.ts', source);
    return new Function(`const log = []; ${points}\n${plain}\nreturn { main, log };`)();
  };

  const coroutines = load(code);
  const task = coroutines.main() as Generator<unknown, unknown, unknown>;
  let step = task.next();
  while (!step.done) step = task.next(step.value);
  return { coroutines: step.value, erased: load(erased(code)).main() };
}

describe('erase', () => {
  it('leaves a module without coroutines alone', () => {
    expect(erase('export const a = 2 * 3; // yield* to nobody', 'sample.ts')).toBeNull();
  });

  it.each([
    ['a declaration', 'function* f(): Task<void> { yield* g(); }', 'function f(): Task<void> { g(); }'],
    [
      'an exported declaration',
      'export function *f<T>(a: T): Task<T> { return a; }',
      'export function f<T>(a: T): Task<T> { return a; }',
    ],
    ['a function expression', 'const f: Op = function* () { yield read(a); };', 'const f: Op = function () { read(a); };'],
    ['a method', 'class C { private *m(): Task<void> { yield read(a); } }', 'class C { private m(): Task<void> { read(a); } }'],
    ['a static method', 'class C { static *m(): Task<void> {} }', 'class C { static m(): Task<void> {} }'],
    ['a private method', 'class C { *#m(): Task<void> {} }', 'class C { #m(): Task<void> {} }'],
    ['an object method', 'const o = { *m(): Task<void> {} };', 'const o = { m(): Task<void> {} };'],
    ['a declaration behind a comment', 'function /* a * b */ * f(): Task<void> {}', 'function /* a * b */  f(): Task<void> {}'],
    [
      'text that only looks like code',
      '// yield*\nfunction* f(): Task<void> { g("yield *"); }',
      '// yield*\nfunction f(): Task<void> { g("yield *"); }',
    ],
    [
      'characters beyond 16 bits',
      '/* 🧨é */ function* f(): Task<void> { yield* g(); }',
      '/* 🧨é */ function f(): Task<void> { g(); }',
    ],
  ])('removes the star of %s', (_what, code, expected) => {
    expect(erased(code)).toBe(expected);
  });

  it.each([
    ['nested', 'm.load(yield read(yield* f(yield read(a))))', 'm.load(read(f(read(a))))'],
    ['parenthesised', '(yield read(a)) + 1', '(read(a)) + 1'],
    ['with parentheses around its argument', 'yield* (f(a))', '(f(a))'],
    ['in a condition', 'c() && !(yield* f(a)) ? 1 : yield* g()', 'c() && !(f(a)) ? 1 : g()'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source code
    ['in a template', '`${yield* f()}`', '`${f()}`'],
    ['in an argument list', 'h(yield read(a), ...(yield* f()))', 'h(read(a), ...(f()))'],
    ['before a newline', 'yield* // why\n f()', 'f()'],
  ])('removes a yield that is %s', (_what, expression, expected) => {
    expect(erased(`function* s(): Task<void> { return ${expression}; }`)).toBe(
      `function s(): Task<void> { return ${expected}; }`,
    );
  });

  it('removes yields from arrow functions around coroutines, and leaves other arrows alone', () => {
    const code = 'const make = (n: number) => function* () { return (yield* f(n)).map((x) => x * n); };';
    expect(erased(code)).toBe('const make = (n: number) => function () { return (f(n)).map((x) => x * n); };');
  });

  it('takes bug switches out where it is told to, and only those', () => {
    const code = "const a = kvm.bugs['no-freeze'] === true, b = bugs['x'], c = debugs['x'], d = kvm.bugs.x;";
    expect(erase(code, 'sample.ts', undefined, { bugs: false })?.code).toBe(
      "const a = false === true, b = false, c = debugs['x'], d = kvm.bugs.x;",
    );
    expect(erase(code, 'sample.ts')).toBeNull();
  });

  it('drops a statement that only spends, arguments included', () => {
    expect(erased('function* f(): Task<void> { a(); yield spend(cost(1)); b(); }')).toBe(
      'function f(): Task<void> { a();  b(); }',
    );
    expect(erased('function* f(): Task<void> { if (a) yield spend(1); else yield spend(2); b(); }')).toBe(
      'function f(): Task<void> { if (a) ; else ; b(); }',
    );
    expect(erased('function* f(): Task<void> { switch (a) { case 1: yield spend(1); break; } }')).not.toMatch(/spend|;;/);
  });

  it('does not let a statement continue the line before it', () => {
    const code = 'function* f(): Task<void> {\n  const a = b\n  yield [c][0]\n}';
    expect(erased(code)).toContain('const a = b\n  void [c][0]');
  });

  it.each([
    ['nested calls', 'function* f(a) { return (yield read(a)) + 1; } function* main() { return (yield* f(yield* f(1))) * 2; }'],
    ['loops', 'function* f(a) { return a < 3; } function* main() { let n = 0; while (yield* f(n)) n++; return n; }'],
    ['early return', 'function* main() { for (let i = 0; ; i++) { if ((yield read(i)) === 4) return i; } }'],
    [
      'finally',
      'function* main() { try { yield read(1); throw 1; } catch (e) { return e + (yield read(1)); } finally { yield read(2); } }',
    ],
    [
      'methods',
      'class C { n = 2; *m(a) { return (yield read(a)) * this.n; } } function* main() { return yield* new C().m(21); }',
    ],
    [
      'callbacks',
      'function* each(n, f) { let s = 0; while (n-- > 0) s += yield* f(n); return s; } function* main() { return yield* each(4, function* (i) { return yield read(i); }); }',
    ],
    [
      'precedence',
      'function* main() { let a = 0; a += yield read(2); a *= (yield read(3), yield read(4)); return a + (yield a ? 1 : 2); }',
    ],
  ])('computes the same without the coroutines: %s', (_what, code) => {
    const results = runBothWays(code);
    expect(results.erased).toBe(results.coroutines);
    expect(erased(code)).not.toMatch(/\byield\b|function\s*\*/);
  });

  it.each([
    ['a bare yield', 'function* f(): Task<void> {\n  a();\n  yield;\n}', 'sample.ts:3: `yield` without an argument'],
    ['a yielded yield', 'function* f(): Task<void> {\n  yield yield read(a);\n}', 'sample.ts:2: `yield yield`'],
    ['an async generator', '\nasync function* f() {}', 'sample.ts:2: an async generator'],
    ['an iterator', 'class C {\n  *[Symbol.iterator]() { yield 1; }\n}', 'sample.ts:2: a generator method with a computed name'],
    [
      'a generator of values',
      '\n\nfunction* f(): Generator<number> { yield 1; }',
      'sample.ts:3: a generator of the single source must return Task',
    ],
    ['a syntax error', '\nfunction* f( {', 'sample.ts:2: '],
  ])('rejects %s, naming file and line', (_what, code, message) => {
    expect(() => erase(code, 'sample.ts')).toThrow(EraseError);
    expect(() => erase(code, 'sample.ts')).toThrow(message);
  });

  it('maps the erased code back to the source', () => {
    const code = 'function* f(): Task<void> {\n  yield* g(); here();\n}\n';
    const result = erase(code, 'sample.ts');
    const map = new SourceMap(JSON.parse(String(result?.map)));
    const column = result?.code.split('\n')[1]?.indexOf('here') ?? -1;
    const origin = map.findEntry(1, column);
    expect(origin).toMatchObject({ originalSource: 'sample.ts', originalLine: 1, originalColumn: '  yield* g(); '.length });
  });
});

describe('the plugin in a bundle', () => {
  const made: string[] = [];
  afterEach(() => {
    for (const folder of made.splice(0)) rmSync(folder, { recursive: true });
  });

  /** Builds `workers/w.ts` of a small package and loads the bundle. */
  async function load(
    flavour: 'direct' | 'perturbed',
    files: Record<string, string>,
  ): Promise<{ main: () => unknown; file: string }> {
    const root = mkdtempSync(path.join(os.tmpdir(), 'tdpsim-erase-'));
    made.push(root);
    const point = (name: string): string =>
      `export type { Task } from './point.ts';\nexport const read = (a: number) => '${name} ' + a;\n`;
    const all: Record<string, string> = {
      'package.json': '{ "type": "module" }',
      'src/machine/point.ts':
        "export type Task<T> = Generator<number, T, number>;\nexport const read = (a: number) => a;\nexport const KIND = 'kind';\n",
      'src/machine/point.direct.ts': `${point('direct')}export { KIND } from './point.ts';\n`,
      'src/machine/point.perturbed.ts': `${point('perturbed')}export { KIND } from './point.direct.ts';\n`,
      ...files,
    };
    for (const [name, text] of Object.entries(all)) {
      mkdirSync(path.join(root, path.dirname(name)), { recursive: true });
      writeFileSync(path.join(root, name), text);
    }
    const build = await rolldown({
      cwd: root,
      input: 'workers/w.ts',
      tsconfig: false,
      plugins: [erasePlugin({ root, flavour })],
    });
    await build.write({ dir: path.join(root, 'dist'), sourcemap: true });
    await build.close();
    const file = path.join(root, 'dist/w.js');
    return { main: (await import(/* @vite-ignore */ file)).main, file };
  }

  const mmu =
    "import { KIND, read, type Task } from '../machine/point.ts';\nexport function* fault(a: number): Task<string> {\n  return KIND + ' ' + (yield read(a));\n}\n";
  const worker = "import { fault } from '../src/mmu/fault.ts';\nexport const main = () => fault(3);\n";

  it.each(['direct', 'perturbed'] as const)('takes the %s points in place of those that announce', async (flavour) => {
    const { main } = await load(flavour, { 'src/mmu/fault.ts': mmu, 'workers/w.ts': worker });
    expect(main()).toBe(`kind ${flavour} 3`);
  });

  it('gives a worker that names the replacement the module that everybody has', async () => {
    const direct = "import { read } from '../src/machine/point.direct.ts';\nexport const main = () => read(1);\n";
    const { main } = await load('perturbed', { 'workers/w.ts': direct });
    expect(main()).toBe('perturbed 1');
  });

  it('leaves generators outside of the single source alone', async () => {
    const { main } = await load('direct', { 'workers/w.ts': 'export function* main(): Generator<number> { yield 1; }\n' });
    expect([...(main() as Iterable<number>)]).toEqual([1]);
  });

  it('maps positions in the bundle back to lines of the source', async () => {
    const throwing =
      "import { read, type Task } from '../machine/point.ts';\n\nexport function* fault(a: number): Task<number> {\n  yield read(a);\n  throw new Error('here');\n}\n";
    const { file } = await load('direct', { 'src/mmu/fault.ts': throwing, 'workers/w.ts': worker });
    const lines = readFileSync(file, 'utf8').split('\n');
    const line = lines.findIndex((text) => text.includes('throw new'));
    const map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8')));
    expect(map.findEntry(line, lines[line].indexOf('new Error'))).toMatchObject({
      originalSource: '../src/mmu/fault.ts',
      originalLine: 4,
      originalColumn: '  throw '.length,
    });
  });

  it('names file and line of what it cannot erase', async () => {
    const bare = 'export function* fault(a: number) {\n  yield;\n}\n';
    await expect(load('direct', { 'src/mmu/fault.ts': bare, 'workers/w.ts': worker })).rejects.toThrow(
      'src/mmu/fault.ts:2: `yield` without',
    );
  });
});
