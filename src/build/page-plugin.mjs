/**
 * Lets TypeScript import a page: `import text from './page.html'` yields the HTML with its local stylesheets and scripts put
 * into it, scripts bundled. Works as a plugin of rolldown and of vite alike.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { rolldown } from 'rolldown';

const STYLESHEET = /<link rel="stylesheet" href="([^"]+)" \/>/g;
const SCRIPT = /<script type="module" src="([^"]+)"><\/script>/g;

/** @type {(file: string) => Promise<string>} */
async function bundleScript(file) {
  const build = await rolldown({ input: file, platform: 'browser', tsconfig: false });
  try {
    const { output } = await build.generate({ format: 'esm', minify: false });
    return output[0].code;
  } finally {
    await build.close();
  }
}

/** @type {(text: string, pattern: RegExp, made: (name: string) => Promise<string>) => Promise<string>} */
async function replaceAsync(text, pattern, made) {
  const names = [...text.matchAll(pattern)].map(([, name]) => name);
  const parts = await Promise.all(names.map(made));
  return text.replace(pattern, () => /** @type {string} */ (parts.shift()));
}

/**
 * The page in `file`, with everything in it.
 *
 * @param {string} file
 * @returns {Promise<string>}
 */
export async function inlinePage(file) {
  const near = (/** @type {string} */ name) => path.join(path.dirname(file), name);
  const html = await readFile(file, 'utf8');
  const styled = await replaceAsync(html, STYLESHEET, async (name) => `<style>\n${await readFile(near(name), 'utf8')}</style>`);
  return replaceAsync(styled, SCRIPT, async (name) => {
    const code = await bundleScript(near(name));
    if (code.includes('</script')) throw new Error(`${name}: the text '</script' would end the script`);
    return `<script type="module">\n${code}</script>`;
  });
}

/** The plugin. */
export function pagePlugin() {
  return {
    name: 'page',
    /** Before plugins of the bundler that have their own idea of HTML. */
    enforce: /** @type {const} */ ('pre'),
    load: {
      filter: { id: /\.html$/ },
      /** @param {string} id */
      async handler(id) {
        return {
          code: `export default ${JSON.stringify(await inlinePage(id))};\n`,
          moduleType: /** @type {const} */ ('js'),
          map: null,
        };
      },
    },
  };
}
