/**
 * The statements of a function that is being written, and the names that they use of the runtime.
 */

/** Names of the runtime, and of the resumed function's parameters. They are no names that sources use. */
export const NAMES = {
  suspended: '$suspended',
  park: '$park',
  unwind: '$unwind',
  site: '$site',
  locals: '$locals',
  value: '$value',
};

/** Statements in order, those without a suspension gathered. */
export class Lines {
  /** @type {string[]} */
  #done = [];
  /** @type {string[]} */
  #plain = [];
  #resumed;

  /** @param {boolean} resumed */
  constructor(resumed) {
    this.#resumed = resumed;
  }

  /** A statement that has been done where the function is resumed after it. @param {string} code */
  plain(code) {
    this.#plain.push(code);
  }

  /** A statement that sees to it itself. @param {string} code */
  raw(code) {
    this.#flush();
    this.#done.push(code);
  }

  toString() {
    this.#flush();
    return this.#done.join('\n');
  }

  #flush() {
    if (this.#plain.length === 0) return;
    const code = this.#plain.join('\n');
    this.#done.push(this.#resumed ? `if (${NAMES.site} === 0) {\n${code}\n}` : code);
    this.#plain = [];
  }
}
