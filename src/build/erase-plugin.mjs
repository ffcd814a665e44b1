/**
 * The build plugin that turns the single source into plain synchronous code.
 *
 * The MMU and everything that it stands on is written once, as coroutines that yield before each shared access. Threads
 * need none of that: for their bundles this plugin removes the `*` of generator functions and methods and the words
 * `yield` and `yield*`, and puts the module that makes a scheduling point the identity in place of the one that describes
 * it. What types say is not its business: the type checker has seen the source as it was written.
 *
 * It is JavaScript, because it has to run on a Node that does not strip types.
 */
import path from 'node:path';
import MagicString from 'magic-string';
import { makeResumable } from './resumable/module.mjs';
import { childrenOf, EraseError, findStar, isMethod, parse } from './syntax.mjs';

export { EraseError } from './syntax.mjs';

/** Folders, relative to the package root, whose modules are written as coroutines and can be erased. */
export const SINGLE_SOURCE_ROOTS = ['src/machine/', 'src/mmu/', 'src/shadow/', 'src/vm/', 'src/workloads/programs/'];

/** What takes the place of {@link POINTS} in each flavour of the worker bundles. */
export const FLAVOURS = {
  direct: 'src/machine/point.direct.ts',
  perturbed: 'src/machine/point.perturbed.ts',
  resumable: 'src/machine/point.resumable.ts',
};

/** Where tasks are run to their end without an engine: where coroutines are plain functions, a call has done that. */
const RUN = { from: 'src/machine/run.ts', to: 'src/machine/run.resumable.ts' };

/** The module that describes scheduling points. */
export const POINTS = 'src/machine/point.ts';

/** The record of switches that put historical bugs back: see `src/mmu/bug-switches.ts`. */
const BUG_SWITCHES = 'bugs';

/** A scheduling point without effect on threads: a statement that does nothing else is dropped, arguments included. */
const POINT_WITHOUT_EFFECT = 'spend';

/**
 * @typedef {import('./syntax.mjs').Node} Node
 * @typedef {{ code: string, map: import('magic-string').SourceMap }} Erased
 */

/**
 * Erases the coroutines of one module.
 *
 * @param {string} code TypeScript source
 * @param {string} file its name, for messages and the source map
 * @param {Node} [program] its syntax tree, with parentheses kept; parsed here if absent
 * @param {{ bugs?: boolean }} [keep] what is left in: the tests of bug switches, which cost time on every fault
 * @returns {Erased | null} null if there is nothing to erase
 */
export function erase(code, file, program = parse(code, file), { bugs = true } = {}) {
  const out = new MagicString(code, { filename: file });
  /** @type {(offset: number, what: string) => never} */
  const reject = (offset, what) => {
    throw new EraseError(file, code, offset, what);
  };

  /** @type {(node: Node, parent: Node | null) => void} */
  const visit = (node, parent) => {
    if (node.generator === true) {
      if (node.async) reject(node.start, 'an async generator cannot be erased: the single source is synchronous');
      const owner = parent && isMethod(parent, node) ? parent : node;
      if (owner.computed) reject(owner.start, 'a generator method with a computed name cannot be erased');
      if (!returnsTask(node)) reject(owner.start, 'a generator of the single source must return Task<…>, as it is erased');
      const star = findStar(code, owner.start);
      out.remove(star, star + 1);
    }
    if (isPointWithoutEffect(node)) {
      // Where the grammar asks for a statement (`if (slow) yield spend(…);`), an empty one is left behind.
      if (parent && holdsStatements(parent)) out.remove(node.start, node.end);
      else out.overwrite(node.start, node.end, ';');
      return;
    }
    if (!bugs && isBugSwitch(node)) {
      out.overwrite(node.start, node.end, 'false');
      return;
    }
    if (node.type === 'YieldExpression') {
      if (!node.argument) reject(node.start, '`yield` without an argument announces nothing');
      if (!node.delegate && node.argument.type === 'YieldExpression') reject(node.start, '`yield yield` announces a grant');
      // A statement must not begin with what would continue the line before it, or open a block.
      const startsStatement = parent?.type === 'ExpressionStatement' && parent.start === node.start;
      if (startsStatement && /^(?:[([{`+\-/]|function\b|class\b|let\b)/.test(code.slice(node.argument.start))) {
        out.overwrite(node.start, node.argument.start, 'void ');
      } else {
        // Up to the argument: `return yield*` may be followed by a newline, `return` may not.
        out.remove(node.start, node.argument.start);
      }
    }
    for (const child of childrenOf(node)) visit(child, node);
  };
  visit(program, null);

  if (!out.hasChanged()) return null;
  return { code: out.toString(), map: out.generateMap({ source: file, includeContent: true, hires: 'boundary' }) };
}

/**
 * The rolldown plugin.
 *
 * @param {{ root: string, flavour: keyof typeof FLAVOURS }} options root: the package root
 * @returns {import('rolldown').Plugin}
 */
export function erasePlugin({ root, flavour }) {
  const points = path.join(root, POINTS);
  const replacements = new Set([...Object.values(FLAVOURS), RUN.to].map((file) => path.join(root, file)));
  const replacement = path.join(root, FLAVOURS[flavour]);
  const roots = SINGLE_SOURCE_ROOTS.map((folder) => path.join(root, folder));

  return {
    name: 'erase-coroutines',
    resolveId: {
      filter: { id: /(?:^|\/)(?:run|point(?:\.direct|\.perturbed|\.resumable)?)\.ts$/ },
      async handler(id, importer) {
        // The replacements share types and constants with what they replace: they see it as it is.
        if (!importer || replacements.has(importer)) return null;
        const target = path.resolve(path.dirname(importer), id);
        if (target === path.join(root, RUN.from)) return flavour === 'resumable' ? path.join(root, RUN.to) : null;
        return target === points || replacements.has(target) ? replacement : null;
      },
    },
    transform: {
      filter: { id: /\.ts$/ },
      handler(code, id) {
        if (!roots.some((folder) => id.startsWith(folder))) return null;
        const program = /** @type {Node} */ (/** @type {unknown} */ (this.parse(code, { lang: 'ts', preserveParens: true })));
        const name = path.relative(root, id);
        const runtime = path.relative(path.dirname(id), points);
        const erased =
          flavour === 'resumable'
            ? makeResumable(code, name, runtime.startsWith('.') ? runtime : `./${runtime}`, program)
            : erase(code, name, program, { bugs: flavour === 'perturbed' });
        return erased && { code: erased.code, map: erased.map.toString() };
      },
    },
  };
}

/** A function expression may leave its type to its context. @type {(fn: Node) => boolean} */
function returnsTask(fn) {
  const type = fn.returnType?.typeAnnotation;
  return !type || (type.type === 'TSTypeReference' && type.typeName.name === 'Task');
}

/** @type {(node: Node) => boolean} */
function isPointWithoutEffect(node) {
  const call = node.type === 'ExpressionStatement' && node.expression.type === 'YieldExpression' && node.expression.argument;
  return Boolean(call && call.type === 'CallExpression' && call.callee.name === POINT_WITHOUT_EFFECT);
}

/** `kvm.bugs['some-bug']`: a test of one switch. @type {(node: Node) => boolean} */
function isBugSwitch(node) {
  if (node.type !== 'MemberExpression' || !node.computed || node.property.type !== 'Literal') return false;
  const { object } = node;
  return object.type === 'MemberExpression' ? object.property.name === BUG_SWITCHES : object.name === BUG_SWITCHES;
}

/** @type {(node: Node) => boolean} */
function holdsStatements(node) {
  return ['BlockStatement', 'FunctionBody', 'Program', 'SwitchCase', 'StaticBlock'].includes(node.type);
}
