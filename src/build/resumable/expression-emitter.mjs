/**
 * Writes the expressions of one of the two functions that a coroutine becomes (see `emitter.mjs`).
 *
 * An expression with a suspension in it is taken apart: what is evaluated before goes into variables, in the order in which it
 * stands, so that it can be saved.
 */
import { childrenOf, isFunction } from '../syntax.mjs';
import { isLoop } from './function-facts.mjs';
import { Lines, NAMES } from './lines.mjs';

/** @typedef {import('../syntax.mjs').Node} Node */

/** Expressions that are the same whenever they are evaluated. */
const CONSTANT = ['Literal', 'ThisExpression', 'ArrowFunctionExpression', 'FunctionExpression'];
/** What may stand around an expression without changing its value. */
export const WRAPPERS = ['ParenthesizedExpression', 'TSAsExpression', 'TSNonNullExpression', 'TSSatisfiesExpression'];

export class ExpressionEmitter {
  /** Variables that outlive the suspension at each site: both functions must agree on them. @type {Map<number, string[]>} */
  saved;
  /** Variables that the function must declare, its parameters among them. @type {Set<string>} */
  declared = new Set();
  code;
  facts;
  resumed;
  resumer;
  nested;
  reject;
  /** Intermediate values of the expression under way. @type {string[]} */
  pending = [];
  expressionStart = 0;
  /** Where `continue` goes in the loop under way, if it cannot stay what it is. @type {string | null} */
  continueLabel = null;

  /**
   * @param {{
   *   code: string,
   *   facts: import('./function-facts.mjs').FunctionFacts,
   *   resumed: boolean,
   *   resumer: string,
   *   saved?: Map<number, string[]>,
   *   nested: (fn: Node, parent: Node, isExpression?: boolean) => { start: number, end: number, text: string } | null,
   *   reject: (offset: number, what: string) => never,
   * }} options resumer: the resumed function, as both functions call it; saved: what the fast function saves; nested: what
   *   becomes of a coroutine within
   */
  constructor({ code, facts, resumed, resumer, saved = new Map(), nested, reject }) {
    this.saved = saved;
    this.code = code;
    this.facts = facts;
    this.resumed = resumed;
    this.resumer = resumer;
    this.nested = nested;
    this.reject = reject;
    for (const name of facts.variables.keys()) this.declared.add(name);
  }

  /** What `write` writes of the body of a loop whose `continue` goes to `label`. @param {string | null} label @param {() => string} write */
  inLoop(label, write) {
    const outside = this.continueLabel;
    this.continueLabel = label;
    const text = write();
    this.continueLabel = outside;
    return text;
  }

  /** The source of `node`, parts of it replaced. @param {Node} node @param {{ start: number, end: number, text: string }[]} parts */
  splice(node, parts) {
    let text = '';
    let at = node.start;
    for (const part of parts.toSorted((a, b) => a.start - b.start)) {
      text += this.code.slice(at, part.start) + part.text;
      at = part.end;
    }
    return text + this.code.slice(at, node.end);
  }

  /** The source of a node without a suspension: coroutines within are transformed, `continue` finds its loop. @param {Node} node */
  text(node) {
    /** @type {{ start: number, end: number, text: string }[]} */
    const parts = [];
    /** @type {(at: Node, parent: Node, inLoop: boolean) => void} */
    const visit = (at, parent, inLoop) => {
      if (isFunction(at)) {
        const replaced = this.nested(at, parent);
        if (replaced !== null) {
          parts.push(replaced);
          return;
        }
      }
      if (at.type === 'ContinueStatement' && !inLoop && this.continueLabel !== null) {
        parts.push({ start: at.start, end: at.end, text: `break ${this.continueLabel};` });
      }
      for (const child of childrenOf(at)) visit(child, at, inLoop || isLoop(at) || isFunction(at));
    };
    visit(node, node, false);
    return this.splice(node, parts);
  }

  temporary() {
    const name = `$${this.pending.length}`;
    this.pending.push(name);
    this.declared.add(name);
    return name;
  }

  /** An expression; what must come before it goes to `lines`. @param {Node} node @param {Lines} lines @returns {string} */
  expression(node, lines) {
    if (!this.facts.suspends(node)) return this.text(node);
    switch (node.type) {
      case 'YieldExpression':
        return this.site(node, lines, null);
      case 'LogicalExpression':
        return this.logical(node, lines);
      case 'ConditionalExpression':
        return this.conditional(node, lines);
      case 'AssignmentExpression':
        return this.assignment(node, lines);
      case 'CallExpression':
      case 'NewExpression': {
        const { callee } = node;
        if (node.optional) this.reject(node.start, 'a suspension within an optional call is not supported');
        // The method is looked up after the arguments: nobody replaces methods.
        const isMember = callee.type === 'MemberExpression' && !callee.computed;
        return this.inOrder(node, [isMember ? callee.object : callee, ...node.arguments], lines);
      }
      case 'MemberExpression':
        return this.inOrder(node, node.computed ? [node.object, node.property] : [node.object], lines);
      case 'BinaryExpression':
        return this.inOrder(node, [node.left, node.right], lines);
      case 'UnaryExpression':
      case 'SpreadElement':
        return this.inOrder(node, [node.argument], lines);
      case 'TemplateLiteral':
        return this.inOrder(node, node.expressions, lines);
      case 'ArrayExpression':
        return this.inOrder(node, node.elements, lines);
      case 'ObjectExpression':
        return this.inOrder(
          node,
          node.properties.map((/** @type {Node} */ p) => p.value ?? p),
          lines,
        );
      default:
        if (WRAPPERS.includes(node.type)) return this.inOrder(node, [node.expression], lines);
        return this.reject(node.start, `a suspension within a ${node.type} is not supported`);
    }
  }

  /** `node`, whose `operands` are evaluated from left to right. @param {Node} node @param {Node[]} operands @param {Lines} lines */
  inOrder(node, operands, lines) {
    const last = operands.findLastIndex((operand) => this.facts.suspends(operand));
    const parts = operands.slice(0, last + 1).map((operand, i) => {
      let text = this.expression(operand, lines);
      if (i < last && !this.isConstant(operand)) text = this.keep(text, lines);
      return { start: operand.start, end: operand.end, text };
    });
    const rest = operands.slice(last + 1).map((operand) => ({ ...operand, text: this.text(operand) }));
    return this.splice(node, [...parts, ...rest]);
  }

  /** @param {string} text @param {Lines} lines */
  keep(text, lines) {
    const name = this.temporary();
    lines.plain(`${name} = ${text};`);
    return name;
  }

  /** @param {Node} node @returns {boolean} */
  isConstant(node) {
    if (node.type === 'Identifier') return this.facts.isStable(node.name);
    return CONSTANT.includes(node.type);
  }

  /** @param {Node} node @param {Lines} lines */
  logical(node, lines) {
    const left = this.expression(node.left, lines);
    if (!this.facts.suspends(node.right))
      return this.splice(node, [
        { ...node.left, text: left },
        { ...node.right, text: this.text(node.right) },
      ]);
    const name = this.keep(left, lines);
    const tests = /** @type {Record<string, string>} */ ({ '&&': name, '||': `!${name}`, '??': `${name} == null` });
    this.branch(node.right, tests[node.operator], null, lines, (inner) =>
      inner.plain(`${name} = ${this.expression(node.right, inner)};`),
    );
    return name;
  }

  /** @param {Node} node @param {Lines} lines */
  conditional(node, lines) {
    const { test, consequent, alternate } = node;
    const condition = this.keep(this.expression(test, lines), lines);
    const name = this.temporary();
    /** @type {(part: Node) => (inner: Lines) => void} */
    const into = (part) => (inner) => inner.plain(`${name} = ${this.expression(part, inner)};`);
    this.branch(consequent, condition, alternate, lines, into(consequent), into(alternate));
    return name;
  }

  /** @param {Node} node @param {Lines} lines */
  assignment(node, lines) {
    const { left, right, operator } = node;
    if (this.facts.suspends(left)) this.reject(left.start, 'a suspension within the target of an assignment is not supported');
    let target = this.text(left);
    if (left.type === 'MemberExpression' && !this.isConstant(left.object)) {
      if (left.computed) this.reject(left.start, 'a computed target of a suspended assignment is not supported');
      target = `${this.keep(this.text(left.object), lines)}.${this.text(left.property)}`;
    }
    if (operator === '=') return `${target} = ${this.expression(right, lines)}`;
    if (/^(\|\||&&|\?\?)/.test(operator)) this.reject(node.start, `a suspension within ${operator} is not supported`);
    const before = this.keep(target, lines);
    return `${target} = ${before} ${operator.slice(0, -1)} (${this.expression(right, lines)})`;
  }

  /**
   * A point or a delegation. Returns the variable that has its value then: `target`, or one of its own.
   *
   * @param {Node} node
   * @param {Lines} lines
   * @param {string | null} target
   */
  site(node, lines, target) {
    const call = this.expression(node.argument, lines);
    const alive = [...this.pending];
    const name = target ?? this.temporary();
    const site = /** @type {number} */ (this.facts.sites.get(node));
    let saved = this.saved.get(site);
    if (saved === undefined) {
      saved = [...this.facts.liveAfter(this.expressionStart), ...alive].filter((variable) => variable !== target);
      this.saved.set(site, saved);
    }
    const record = `${this.resumer}, this, ${site}, [${saved.join(', ')}]`;
    const leave = node.delegate ? `return ${NAMES.unwind}(${record});` : `return ${NAMES.park}(${name}, ${record});`;
    const isSuspended = node.delegate ? `(${name} = ${call}) === ${NAMES.suspended}` : `(${name} = ${call}) < 0`;
    if (this.resumed) {
      lines.raw(
        `if (${NAMES.site} === ${site}) {\n${NAMES.site} = 0;\n${name} = ${NAMES.value};\n} else if (${NAMES.site} === 0 && ${isSuspended}) ${leave}`,
      );
    } else {
      lines.raw(`if (${isSuspended}) ${leave}`);
    }
    return name;
  }

  /** Whether the function is being resumed within `node`, as an expression. @param {Node} node */
  isInside(node) {
    if (!this.facts.suspends(node)) return 'false';
    const [first, last] = this.facts.range(node);
    return first === last ? `${NAMES.site} === ${first}` : `(${NAMES.site} >= ${first} && ${NAMES.site} <= ${last})`;
  }

  /** A compound statement that holds `node`'s sites, passed by where the function is resumed elsewhere. @param {Node} node @param {string} code */
  compound(node, code) {
    return this.resumed ? `if (${NAMES.site} === 0 || ${this.isInside(node)}) {\n${code}\n}` : code;
  }

  /**
   * `if (test) … else …`, either part perhaps with sites.
   *
   * @param {Node} yes
   * @param {string} test
   * @param {Node | null} no
   * @param {Lines} lines
   * @param {(inner: Lines) => void} writeYes
   * @param {(inner: Lines) => void} [writeNo]
   */
  branch(yes, test, no, lines, writeYes, writeNo) {
    const first = new Lines(this.resumed);
    writeYes(first);
    const condition = this.resumed ? `${NAMES.site} === 0 ? ${test} : ${this.isInside(yes)}` : test;
    let code = `if (${condition}) {\n${first}\n}`;
    if (writeNo) {
      const second = new Lines(this.resumed);
      writeNo(second);
      code += ` else {\n${second}\n}`;
    }
    const places = [yes, ...(no ? [no] : [])].filter((part) => this.facts.suspends(part)).map((part) => this.isInside(part));
    if (places.length === 0) lines.plain(code);
    else lines.raw(this.resumed ? `if (${[`${NAMES.site} === 0`, ...places].join(' || ')}) {\n${code}\n}` : code);
  }

  /** An expression that stands on its own. @param {Node} node @param {Lines} lines */
  whole(node, lines) {
    this.begin(node);
    return this.expression(node, lines);
  }

  /** @param {Node} node */
  begin(node) {
    this.pending = [];
    this.expressionStart = node.start;
  }
}
