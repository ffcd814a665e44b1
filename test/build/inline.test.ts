import { describe, expect, it } from 'vitest';
import { inlinePoints } from '../../src/build/erase-plugin.mjs';

const inlined = (code: string): string | undefined => inlinePoints(code, 'a.ts')?.code;

describe('inlinePoints', () => {
  it('asks before it suspends, and leaves delegation alone', () => {
    const code = inlined('function* f(m, a) {\n  const x = m.load(yield read(a));\n  yield* g();\n  return x;\n}\n');
    expect(code).toContain('m.load((($answer = read(a)) < 0 ? yield $answer : $answer))');
    expect(code).toContain('  yield* g();');
    expect(code).toMatch(/\nlet \$answer = 0;\n$/);
  });

  it('keeps a point a statement, after whatever stands before it', () => {
    expect(inlined('function* f(on) {\n  if (on) yield spend(1);\n}\n')).toContain(
      'if (on) (($answer = spend(1)) < 0 ? yield $answer : $answer);',
    );
  });

  it('handles points within points', () => {
    const code = inlined('function* f(m, a) { m.set(yield write(m.at(yield read(a))), 1); }')!;
    expect(code).toContain(
      '(($answer = write(m.at((($answer = read(a)) < 0 ? yield $answer : $answer)))) < 0 ? yield $answer : $answer)',
    );
  });

  it('finds nothing to do without points', () => {
    expect(inlined('export const a = 1;')).toBeUndefined();
    expect(() => inlined('function* f() { yield; }')).toThrow(/announces nothing/);
  });
});
