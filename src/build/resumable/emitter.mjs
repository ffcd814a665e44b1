/**
 * Writes one of the two functions that a coroutine becomes.
 *
 * `fast` is the coroutine as a plain function: where a point or a call says that it is suspended, it leaves a record of its
 * variables and returns. `resumed` takes such a record, runs past everything that has been done to the place of the suspension,
 * and goes on from there.
 */
import { ExpressionEmitter, WRAPPERS } from './expression-emitter.mjs';
import { Lines, NAMES } from './lines.mjs';

/** @typedef {import('../syntax.mjs').Node} Node */

export class Emitter extends ExpressionEmitter {
  labels = 0;

  /** @param {Node} body @returns {string} the statements of the function */
  body(body) {
    const lines = new Lines(this.resumed);
    for (const statement of body.body) this.statement(statement, lines);
    return lines.toString();
  }

  /** @param {Node} node @param {Lines} lines */
  statement(node, lines) {
    if (node.type === 'VariableDeclaration') {
      this.declaration(node, lines);
      return;
    }
    if (node.type === 'FunctionDeclaration') {
      // From here on it is what others see of it: sources do not call it before.
      const text = this.nested(node, node, true)?.text ?? `(${this.text(node)})`;
      lines.plain(`${node.id.name} = ${text};`);
      return;
    }
    if (!this.facts.suspends(node)) {
      lines.plain(this.text(node));
      return;
    }
    switch (node.type) {
      case 'ExpressionStatement':
        this.expressionStatement(node.expression, lines);
        return;
      case 'ReturnStatement': {
        let { argument } = node;
        this.begin(argument);
        while (WRAPPERS.includes(argument.type)) argument = argument.expression;
        // Nothing is left to do here after the callee: its suspension is ours.
        const isTail = argument.type === 'YieldExpression' && argument.delegate;
        const value = this.expression(isTail ? argument.argument : argument, lines);
        lines.plain(`return ${value};`);
        return;
      }
      case 'ThrowStatement':
        lines.plain(`throw ${this.whole(node.argument, lines)};`);
        return;
      case 'BlockStatement':
        lines.raw(this.compound(node, this.block(node)));
        return;
      case 'IfStatement': {
        const { test, consequent, alternate } = node;
        const condition = this.whole(test, lines);
        /** @type {(part: Node) => (inner: Lines) => void} */
        const into = (part) => (inner) => this.statement(part, inner);
        this.branch(consequent, condition, alternate, lines, into(consequent), alternate ? into(alternate) : undefined);
        return;
      }
      case 'SwitchStatement':
        this.switch(node, lines);
        return;
      case 'ForStatement':
      case 'WhileStatement':
      case 'DoWhileStatement':
      case 'ForOfStatement':
        this.loop(node, lines);
        return;
      default:
        this.reject(node.start, `a suspension within a ${node.type} is not supported`);
    }
  }

  /** @param {Node} node @param {Lines} lines */
  expressionStatement(node, lines) {
    this.begin(node);
    if (node.type === 'YieldExpression') {
      this.site(node, lines, null);
      return;
    }
    if (
      node.type === 'AssignmentExpression' &&
      node.operator === '=' &&
      node.left.type === 'Identifier' &&
      node.right.type === 'YieldExpression'
    ) {
      this.site(node.right, lines, node.left.name);
      return;
    }
    const text = this.expression(node, lines);
    lines.plain(/^\{/.test(text) ? `(${text});` : `${text};`);
  }

  /** @param {Node} node @param {Lines} lines */
  declaration(node, lines) {
    for (const { id, init } of node.declarations) {
      const name = id.type === 'Identifier' ? id.name : null;
      if (init && name !== null && init.type === 'YieldExpression') {
        this.begin(init);
        this.site(init, lines, name);
        continue;
      }
      const value = init ? this.whole(init, lines) : 'undefined';
      if (name !== null) lines.plain(`${name} = ${value};`);
      else lines.plain(`(${this.code.slice(id.start, id.typeAnnotation?.start ?? id.end)} = ${value});`);
    }
  }

  /** @param {Node} node */
  block(node) {
    const lines = new Lines(this.resumed);
    // A block without a suspension keeps its own variables: it is written as it is.
    if (node.type === 'BlockStatement' && this.facts.suspends(node)) {
      for (const statement of node.body) this.statement(statement, lines);
    } else {
      this.statement(node, lines);
    }
    return lines.toString();
  }

  /** @param {Node} node @param {Lines} lines */
  switch(node, lines) {
    const { discriminant, cases } = node;
    let value = this.whole(discriminant, lines);
    if (this.resumed) {
      const entries = cases.filter((/** @type {Node} */ one) => this.facts.suspends(one));
      const chosen = entries.map(
        (/** @type {Node} */ one) => `${this.isInside(one)} ? ${one.test ? this.text(one.test) : NAMES.suspended} : `,
      );
      value = `${NAMES.site} === 0 ? ${value} : ${chosen.join('')}${NAMES.suspended}`;
    }
    const texts = cases.map((/** @type {Node} */ one) => {
      if (one.test && this.facts.suspends(one.test)) this.reject(one.start, 'a suspension within a case is not supported');
      const inner = new Lines(this.resumed);
      for (const statement of one.consequent) this.statement(statement, inner);
      return `${one.test ? `case ${this.text(one.test)}` : 'default'}:\n${inner}`;
    });
    lines.raw(this.compound(node, `switch (${value}) {\n${texts.join('\n')}\n}`));
  }

  /** @param {Node} node @param {Lines} lines */
  loop(node, lines) {
    const { test = null, update = null, init = null } = node;
    if (init !== null) {
      if (init.type === 'VariableDeclaration') this.declaration(init, lines);
      else lines.plain(`${this.whole(init, lines)};`);
    }
    const head = new Lines(this.resumed);
    /** @type {string} */
    let condition;
    if (node.type === 'ForOfStatement') {
      condition = this.each(node, lines, head);
    } else {
      condition = test === null ? 'true' : this.whole(test, head);
    }
    const before = head.toString();
    const stays = before === '' && (update === null || !this.facts.suspends(update));
    const label = stays ? null : `$continue${this.labels++}`;
    const body = this.inLoop(label, () => (node.type === 'ForOfStatement' ? this.eachBody(node) : this.block(node.body)));
    if (node.type === 'DoWhileStatement' && stays) {
      lines.raw(this.compound(node, `do {\n${body}\n} while (${condition});`));
      return;
    }
    if (stays) {
      const goesOn = this.resumed ? `${NAMES.site} !== 0 || (${condition})` : condition;
      const step = update === null ? '' : this.text(update);
      lines.raw(this.compound(node, `for (; ${goesOn}; ${step}) {\n${body}\n}`));
      return;
    }
    const leave = `if (${this.resumed ? `${NAMES.site} === 0 && ` : ''}!(${condition})) break;`;
    const after = new Lines(this.resumed);
    if (update !== null) this.expressionStatement(update, after);
    const inside = this.facts.suspends(node.body)
      ? this.compound(node.body, body)
      : this.resumed
        ? `if (${NAMES.site} === 0) {\n${body}\n}`
        : body;
    const turn =
      node.type === 'DoWhileStatement'
        ? `${label}: {\n${inside}\n}\n${before}\n${leave}`
        : `${before}\n${leave}\n${label}: {\n${inside}\n}\n${after}`;
    lines.raw(this.compound(node, `for (;;) {\n${turn}\n}`));
  }

  /** Iterators of `for … of` loops by loop. @type {Map<Node, string>} */
  iterators = new Map();

  /** The head of `for (… of …)`: its iterator outlives suspensions. Returns the condition. @param {Node} node @param {Lines} lines @param {Lines} head */
  each(node, lines, head) {
    const iterator = `$each${node.start}`;
    this.facts.addLoopVariable(iterator, node);
    this.declared.add(iterator);
    this.declared.add(`${iterator}_`);
    this.iterators.set(node, iterator);
    lines.plain(`${iterator} = (${this.whole(node.right, lines)})[Symbol.iterator]();`);
    if (head.toString() !== '') this.reject(node.start, 'unreachable');
    return `!(${iterator}_ = ${iterator}.next()).done`;
  }

  /** @param {Node} node */
  eachBody(node) {
    const { left } = node;
    const target = left.type === 'VariableDeclaration' ? left.declarations[0].id : left;
    const lines = new Lines(this.resumed);
    lines.plain(`(${this.code.slice(target.start, target.end)} = ${this.iterators.get(node)}_.value);`);
    lines.raw(this.block(node.body));
    return lines.toString();
  }
}
