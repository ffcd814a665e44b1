#!/usr/bin/env node
/**
 * The `tdpsim` command. In a source checkout it brings the bundles up to date first; the published package has only them.
 */
import { existsSync } from 'node:fs';

process.setSourceMapsEnabled(true);

const fresh = new URL('../build/fresh.mjs', import.meta.url);
if (existsSync(fresh)) {
  const { ensureFresh } = await import(fresh.href);
  try {
    await ensureFresh();
  } catch (error) {
    console.error(`tdpsim: the sources do not build\n${error instanceof Error ? error.message : error}`);
    process.exit(1);
  }
}
await import(new URL('../../dist/cli.js', import.meta.url).href);
