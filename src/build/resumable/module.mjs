/**
 * Turns the coroutines of a module into plain functions that can be suspended all the same: for the virtual clock, where most
 * points go through at once and a generator costs more than what it does.
 *
 * A call of a coroutine runs it. Where it cannot go on, it leaves a record of its variables and of the place, and returns
 * `suspended`; so does its caller, and so on up to the engine, which has then a record of each (`src/machine/point.resumable.ts`).
 * To go on, the engine hands the innermost record to the second function that each coroutine becomes, which runs past
 * everything that was done already, and the value that it returns to the record of its caller. A suspension costs only what has been
 * called since the last one, however deep the calls.
 *
 * What is not supported is rejected: suspensions within `try`, in arguments of optional calls, names declared twice in nested scopes,
 * and variables that are set again and used by a function within the coroutine.
 */
import MagicString from 'magic-string';
import { childrenOf, EraseError, findStar, isFunction, isMethod, parse } from '../syntax.mjs';
import { Emitter } from './emitter.mjs';
import { FunctionFacts } from './function-facts.mjs';
import { NAMES } from './lines.mjs';

/** @typedef {import('../syntax.mjs').Node} Node */

/** What the second function of a coroutine is called after the first. */
const SUFFIX = '$resumed';

/**
 * @param {string} code TypeScript source
 * @param {string} file its name, for messages and the source map
 * @param {string} runtime the module that has `suspended`, `park` and `unwind`, as `file` imports it
 * @param {Node} [program] its syntax tree, with parentheses kept; parsed here if absent
 * @returns {{ code: string, map: import('magic-string').SourceMap } | null} null if there is no coroutine
 */
export function makeResumable(code, file, runtime, program = parse(code, file)) {
  const out = new MagicString(code, { filename: file });
  const writer = new Writer(code, file);
  /** @type {(node: Node, parent: Node) => void} */
  const visit = (node, parent) => {
    const replaced = isFunction(node) ? writer.coroutine(node, parent) : null;
    if (replaced !== null) out.overwrite(replaced.start, replaced.end, replaced.text);
    else for (const child of childrenOf(node)) visit(child, node);
  };
  visit(program, program);
  if (!out.hasChanged()) return null;
  const { suspended, park, unwind } = NAMES;
  out.append(`\nimport { suspended as ${suspended}, park as ${park}, unwind as ${unwind} } from '${runtime}';\n`);
  return { code: out.toString(), map: out.generateMap({ source: file, includeContent: true, hires: 'boundary' }) };
}

class Writer {
  #code;
  /** @type {(offset: number, what: string) => never} */
  #reject;
  #functions = 0;

  /** @param {string} code @param {string} file */
  constructor(code, file) {
    this.#code = code;
    this.#reject = (offset, what) => {
      throw new EraseError(file, code, offset, what);
    };
  }

  /**
   * What takes the place of a coroutine, and what that place is; null for a function that is none.
   *
   * @param {Node} fn
   * @param {Node} parent
   * @param {boolean} [isExpression] a declaration is to become an expression
   */
  coroutine(fn, parent, isExpression = false) {
    if (fn.generator !== true) return null;
    if (fn.async) this.#reject(fn.start, 'an async generator is not supported: the single source is synchronous');
    const facts = new FunctionFacts(fn, this.#reject);
    if (fn.type === 'FunctionDeclaration' && !isExpression)
      return this.#pair(fn, fn, facts, `${fn.id.name}${SUFFIX}`, `function ${fn.id.name}${SUFFIX}`);
    if (isMethod(parent, fn) && parent.type === 'MethodDefinition') {
      const name = `${this.#code.slice(parent.key.start, parent.key.end)}${SUFFIX}`;
      return this.#pair(fn, parent, facts, `this.${name}`, `${parent.static ? 'static ' : ''}${name}`);
    }
    const name = `$coroutine${this.#functions++}${SUFFIX}`;
    const expression = isMethod(parent, fn) ? { ...fn, start: parent.value.start } : fn;
    const { text } = this.#pair(expression, fn, facts, name, `function ${name}`, true);
    if (!isMethod(parent, fn)) return { start: fn.start, end: fn.end, text };
    return { start: parent.start, end: parent.end, text: `${this.#code.slice(parent.key.start, parent.key.end)}: ${text}` };
  }

  /**
   * Both functions. `whole` is the node that the first one takes the place of.
   *
   * @param {Node} fn
   * @param {Node} whole
   * @param {FunctionFacts} facts
   * @param {string} resumer
   * @param {string} resumedHead
   * @param {boolean} [isExpression] the pair must be one expression
   */
  #pair(fn, whole, facts, resumer, resumedHead, isExpression = false) {
    const { start, end } = whole;
    const code = this.#code;
    // A method of an object is taken from its parameters on, which stand behind the star.
    const star = isExpression ? -1 : findStar(code, start);
    const head = isExpression
      ? `function ${code.slice(fn.params.length > 0 ? paramsStart(code, fn) : code.lastIndexOf('(', fn.body.start), fn.body.start)}`
      : code.slice(start, star) + code.slice(star + 1, fn.body.start);
    const options = {
      code,
      facts,
      resumer,
      nested: (/** @type {Node} */ inner, /** @type {Node} */ parent, /** @type {boolean | undefined} */ isExpression) =>
        this.coroutine(inner, parent, isExpression),
      reject: this.#reject,
    };
    const fast = new Emitter({ ...options, resumed: false });
    const body = fast.body(fn.body);
    const parameters = new Set(fn.params.flatMap((/** @type {Node} */ param) => namesOf(param)));
    const first = `${head}{\n${declare([...fast.declared].filter((name) => !parameters.has(name)))}${body}\n}`;
    if (facts.sites.size === 0 || fast.saved.size === 0) return { start, end, text: isExpression ? `(${first})` : first };
    const resumed = new Emitter({ ...options, resumed: true, saved: fast.saved });
    const rest = resumed.body(fn.body);
    const { site, locals, value } = NAMES;
    const second = `${resumedHead}(${site}, ${locals}, ${value}) {\n${declare([...resumed.declared])}${restore(fast.saved)}\n${rest}\n}`;
    return { start, end, text: isExpression ? `(() => {\n${second}\nreturn ${first};\n})()` : `${first}\n${second}` };
  }
}

/** @type {(param: Node) => string[]} */
const namesOf = (param) => {
  /** @type {string[]} */
  const names = [];
  /** @type {(node: Node) => void} */
  const visit = (node) => {
    if (node.type === 'Identifier') names.push(node.name);
    for (const child of childrenOf(node)) if (!child.type.startsWith('TS')) visit(child);
  };
  visit(param);
  return names;
};

/** @type {(names: string[]) => string} */
const declare = (names) => (names.length === 0 ? '' : `let ${names.join(', ')};\n`);

/** The statement that brings back what a record holds. @type {(saved: Map<number, string[]>) => string} */
function restore(saved) {
  const cases = [...saved].flatMap(([site, names]) =>
    names.length === 0 ? [] : [`case ${site}: ${names.map((name, i) => `${name} = ${NAMES.locals}[${i}];`).join(' ')} break;`],
  );
  return cases.length === 0 ? '' : `switch (${NAMES.site}) {\n${cases.join('\n')}\n}`;
}

/** Where the parentheses around the parameters begin. @type {(code: string, fn: Node) => number} */
const paramsStart = (code, fn) => code.lastIndexOf('(', fn.params[0].start);
