/**
 * What the transformation of a coroutine has to know about it: where it may be suspended, which variables it has, and which of
 * them must outlive a suspension.
 */
import { childrenOf, isFunction } from '../syntax.mjs';

/** @typedef {import('../syntax.mjs').Node} Node */

/**
 * @typedef {object} Variable
 * @property {number[]} references where its name stands
 * @property {Node[]} scopes the nodes that declare it: one, or several side by side
 * @property {boolean} assigned whether something other than its declaration sets it
 * @property {boolean} captured whether a function within the coroutine uses it
 */

const LOOPS = ['ForStatement', 'WhileStatement', 'DoWhileStatement', 'ForOfStatement', 'ForInStatement'];

/** @type {(node: Node) => boolean} */
export const isLoop = (node) => LOOPS.includes(node.type);

/** The names that a pattern binds. @type {(pattern: Node) => string[]} */
export function boundNames(pattern) {
  switch (pattern.type) {
    case 'Identifier':
      return [pattern.name];
    case 'AssignmentPattern':
      return boundNames(pattern.left);
    case 'RestElement':
      return boundNames(pattern.argument);
    case 'ArrayPattern':
      return pattern.elements.flatMap((/** @type {Node | null} */ element) => (element ? boundNames(element) : []));
    case 'ObjectPattern':
      return pattern.properties.flatMap((/** @type {Node} */ p) => boundNames(p.type === 'RestElement' ? p : p.value));
    default:
      throw new Error(`a ${pattern.type} binds no names`);
  }
}

export class FunctionFacts {
  /** The number of each point and delegation, from 1. @type {Map<Node, number>} */
  sites = new Map();
  /** @type {Map<string, Variable>} */
  variables = new Map();
  /** Nodes that hold a site. @type {Set<Node>} */
  #holders = new Set();
  /** @type {Node[]} */
  #loops = [];
  /** @type {(offset: number, what: string) => never} */
  #reject;

  /**
   * @param {Node} fn a generator function
   * @param {(offset: number, what: string) => never} reject
   */
  constructor(fn, reject) {
    this.#reject = reject;
    this.#findSites(fn.body);
    for (const param of fn.params) for (const name of boundNames(param)) this.#declare(name, fn, [fn]);
    this.#findVariables(fn.body, [fn]);
    for (const param of fn.params) this.#findReferences(param, null);
    this.#findReferences(fn.body, null);
    for (const [name, { assigned, captured }] of this.variables) {
      if (assigned && captured) reject(fn.start, `${name} is set again, and used by a function within the coroutine`);
    }
  }

  /** Whether a suspension may happen within `node`. @type {(node: Node) => boolean} */
  suspends(node) {
    return this.#holders.has(node);
  }

  /** The first and the last site within `node`, which has one. @type {(node: Node) => readonly [number, number]} */
  range(node) {
    const inside = [...this.sites].filter(([site]) => site.start >= node.start && site.end <= node.end).map(([, k]) => k);
    return [Math.min(...inside), Math.max(...inside)];
  }

  /** Whether the value of `name` is the same throughout an expression. @type {(name: string) => boolean} */
  isStable(name) {
    return this.variables.get(name)?.assigned !== true;
  }

  /**
   * Variables that may be read after a suspension within the expression that begins at `start`: those named after it, and those
   * named in a loop around it which outlive a turn of the loop.
   *
   * @param {number} start
   */
  liveAfter(start) {
    const around = this.#loops.filter((loop) => loop.start <= start && start < loop.end);
    return [...this.variables].flatMap(([name, { references, scopes }]) => {
      const later = references.some((at) => at >= start);
      const again = around.some(
        (loop) =>
          !scopes.every((scope) => scope !== loop && inside(scope, loop)) &&
          references.some((at) => at >= loop.start && at < loop.end),
      );
      return later || again ? [name] : [];
    });
  }

  /** A variable that the transformation adds: alive from the beginning to the end of `loop`. @type {(name: string, loop: Node) => void} */
  addLoopVariable(name, loop) {
    this.variables.set(name, { references: [loop.end - 1], scopes: [], assigned: true, captured: false });
  }

  /** @type {(node: Node) => boolean} */
  #findSites(node) {
    if (isFunction(node)) return false;
    let found = node.type === 'YieldExpression';
    for (const child of childrenOf(node)) if (this.#findSites(child)) found = true;
    if (node.type === 'YieldExpression') {
      if (!node.argument) this.#reject(node.start, '`yield` without an argument announces nothing');
      this.sites.set(node, this.sites.size + 1);
    }
    if (found) this.#holders.add(node);
    if (found && isLoop(node)) this.#loops.push(node);
    if (found && (node.type === 'TryStatement' || node.type === 'LabeledStatement')) {
      this.#reject(node.start, `a suspension within a ${node.type} is not supported`);
    }
    return found;
  }

  /** Declarations in statements that hold sites: those of all others stay where they are. @type {(node: Node, around: Node[]) => void} */
  #findVariables(node, around) {
    if (node.type === 'FunctionDeclaration') this.#declare(node.id.name, node, around);
    if (isFunction(node)) return;
    if (node.type === 'VariableDeclaration') {
      for (const { id } of node.declarations) for (const name of boundNames(id)) this.#declare(name, node, around);
      return;
    }
    if (!this.suspends(node)) return;
    const isScope = node.type === 'BlockStatement' || isLoop(node) || node.type === 'SwitchStatement';
    const scopes = isScope ? [...around, node] : around;
    for (const child of childrenOf(node)) this.#findVariables(child, scopes);
  }

  /** @type {(name: string, declaration: Node, around: Node[]) => void} */
  #declare(name, declaration, around) {
    const scope = around[around.length - 1];
    const known = this.variables.get(name);
    if (known === undefined) {
      this.variables.set(name, { references: [], scopes: [scope], assigned: false, captured: false });
      return;
    }
    // One of an inner scope that has ended is gone.
    if (known.scopes.some((other) => around.includes(other) || (inside(other, scope) && other.end > declaration.start))) {
      this.#reject(declaration.start, `${name} is declared within the scope of another ${name}: give one of them another name`);
    }
    known.scopes.push(scope);
  }

  /** Names in `node`; `own`, where it lies in a function within the coroutine, are that function's. @type {(node: Node, own: Set<string> | null) => void} */
  #findReferences(node, own) {
    const named = node.type === 'Identifier' && !own?.has(node.name) ? this.variables.get(node.name) : undefined;
    if (named !== undefined) {
      named.references.push(node.start);
      if (own !== null) named.captured = true;
    }
    const target = node.type === 'AssignmentExpression' ? node.left : node.type === 'UpdateExpression' ? node.argument : null;
    if (target !== null) for (const name of assignedNames(target)) if (!own?.has(name)) this.#assign(name);
    const inner = isFunction(node) ? new Set([...(own ?? []), ...ownNames(node)]) : own;
    for (const child of childrenOf(node)) this.#findReferences(child, inner);
  }

  /** @type {(name: string) => void} */
  #assign(name) {
    const variable = this.variables.get(name);
    if (variable !== undefined) variable.assigned = true;
  }
}

/** @type {(node: Node, outer: Node) => boolean} */
const inside = (node, outer) => node.start >= outer.start && node.end <= outer.end;

/** Names that a function declares, its name and those of functions within included. @type {(fn: Node) => string[]} */
function ownNames(fn) {
  /** @type {string[]} */
  const names = [];
  /** @type {(node: Node) => void} */
  const visit = (node) => {
    if (node.type === 'VariableDeclarator') names.push(...boundNames(node.id));
    if (isFunction(node)) {
      for (const param of node.params) names.push(...boundNames(param));
      if (node.id) names.push(node.id.name);
    }
    for (const child of childrenOf(node)) visit(child);
  };
  visit(fn);
  return names;
}

/** @type {(target: Node) => string[]} */
const assignedNames = (target) => (/Pattern$|^Identifier$/.test(target.type) ? boundNames(target) : []);
