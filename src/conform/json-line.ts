/**
 * Where something stands in a JSON text: for messages about files that parse, but do not hold what they should.
 */

export type JsonPath = readonly (string | number)[];

/** The line (from 1) of the value at `path`, or of the closest value around it that exists. `text` is valid JSON. */
export function lineOfPath(text: string, path: JsonPath): number {
  const scanner = new Scanner(text);
  return scanner.find(path);
}

/** The line (from 1) of the character at `offset`. */
export function lineOfOffset(text: string, offset: number): number {
  let line = 1;
  for (let i = text.indexOf('\n'); i >= 0 && i < offset; i = text.indexOf('\n', i + 1)) line++;
  return line;
}

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  find(path: JsonPath): number {
    this.#space();
    let line = lineOfOffset(this.#text, this.#at);
    for (const key of path) {
      if (!this.#enter(key)) break;
      line = lineOfOffset(this.#text, this.#at);
    }
    return line;
  }

  /** Moves to the value of `key` in the object or array that begins here. */
  #enter(key: string | number): boolean {
    const open = this.#text[this.#at];
    if (open !== '{' && open !== '[') return false;
    this.#at++;
    for (let i = 0; ; i++) {
      this.#space();
      if (this.#text[this.#at] === '}' || this.#text[this.#at] === ']') return false;
      let name: string | number = i;
      if (open === '{') {
        const start = this.#at;
        this.#string();
        name = JSON.parse(this.#text.slice(start, this.#at));
        this.#space();
        this.#at++;
        this.#space();
      }
      if (name === key) return true;
      this.#skip();
      this.#space();
      if (this.#text[this.#at] === ',') this.#at++;
    }
  }

  #space(): void {
    while (/\s/.test(this.#text[this.#at] ?? '')) this.#at++;
  }

  #string(): void {
    for (this.#at++; this.#text[this.#at] !== '"'; this.#at++) if (this.#text[this.#at] === '\\') this.#at++;
    this.#at++;
  }

  /** Passes one value. */
  #skip(): void {
    let depth = 0;
    do {
      const char = this.#text[this.#at];
      if (char === '"') {
        this.#string();
        continue;
      }
      if (char === '{' || char === '[') depth++;
      else if (char === '}' || char === ']') depth--;
      else if (depth === 0) {
        while (!/[,\]}\s]/.test(this.#text[this.#at] ?? ',')) this.#at++;
        return;
      }
      this.#at++;
    } while (depth > 0);
  }
}
