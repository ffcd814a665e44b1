/**
 * Lets TypeScript import WebAssembly text: `import bytes from './x.wat'` yields the compiled module as a `Uint8Array`.
 * Works as a plugin of rolldown and of vite alike.
 */
import { readFile } from 'node:fs/promises';
import wabt from 'wabt';

/** @type {Map<string, Promise<string>>} */
const compiled = new Map();

/**
 * Compiles WebAssembly text, threads included.
 *
 * @param {string} file its name, for messages
 * @param {string} text
 * @returns {Promise<Uint8Array>}
 */
export async function compileWat(file, text) {
  const module = (await wabt()).parseWat(file, text, { threads: true });
  try {
    const bytes = module.toBinary({}).buffer;
    if (!WebAssembly.validate(bytes)) throw new Error(`${file}: not a valid WebAssembly module`);
    return bytes;
  } finally {
    module.destroy();
  }
}

/** @type {(file: string) => Promise<string>} */
async function moduleFor(file) {
  const text = await readFile(file, 'utf8');
  // All bundles of a build import the same few files.
  let code = compiled.get(text);
  if (!code) {
    code = compileWat(file, text).then((bytes) => `export default Uint8Array.of(${bytes.join(',')});\n`);
    compiled.set(text, code);
  }
  return code;
}

/** The plugin. */
export function watPlugin() {
  return {
    name: 'wat',
    load: {
      filter: { id: /\.wat$/ },
      /** @param {string} id */
      async handler(id) {
        return { code: await moduleFor(id), moduleType: /** @type {const} */ ('js'), map: null };
      },
    },
  };
}
