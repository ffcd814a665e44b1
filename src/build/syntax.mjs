/**
 * The syntax tree of a module, as the build's plugins look at it (ESTree with TypeScript's nodes, parentheses kept).
 */
import { parseSync } from 'rolldown/utils';

/** @typedef {{ type: string, start: number, end: number, [key: string]: any }} Node */

/** A construct that the build cannot transform. The message names file and line. */
export class EraseError extends Error {
  /**
   * @param {string} file
   * @param {string} code
   * @param {number} offset
   * @param {string} what
   */
  constructor(file, code, offset, what) {
    super(`${file}:${code.slice(0, offset).split('\n').length}: ${what}`);
    this.name = 'EraseError';
  }
}

/** @type {(code: string, file: string) => Node} */
export function parse(code, file) {
  const { program, errors } = parseSync(file, code, { lang: 'ts', preserveParens: true });
  if (errors.length > 0) throw new EraseError(file, code, errors[0].labels[0]?.start ?? 0, errors[0].message);
  return /** @type {Node} */ (/** @type {unknown} */ (program));
}

/** The nodes below `node`, in the order of the tree's fields. @type {(node: Node) => Node[]} */
export function childrenOf(node) {
  const children = [];
  for (const key in node) {
    const value = node[key];
    if (Array.isArray(value)) children.push(...value.filter((item) => typeof item?.type === 'string'));
    else if (typeof value?.type === 'string') children.push(value);
  }
  return children;
}

/** Whether `fn` is the function of the method `parent`, whose star stands before its name. @type {(parent: Node, fn: Node) => boolean} */
export function isMethod(parent, fn) {
  return parent.value === fn && (parent.type === 'MethodDefinition' || (parent.type === 'Property' && parent.method));
}

/** The first `*` from `offset` on that stands outside a comment. @type {(code: string, offset: number) => number} */
export function findStar(code, offset) {
  for (let at = offset; at < code.length; at++) {
    if (code.startsWith('//', at)) at = code.indexOf('\n', at);
    else if (code.startsWith('/*', at)) at = code.indexOf('*/', at) + 1;
    else if (code[at] === '*') return at;
  }
  throw new Error('a generator without a star');
}

/** Whether `node` is a function, whatever its form. @type {(node: Node) => boolean} */
export const isFunction = (node) => ['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression'].includes(node.type);
