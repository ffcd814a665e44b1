import { defineConfig } from 'vitest/config';
import { pagePlugin } from './src/build/page-plugin.mjs';
import { watPlugin } from './src/build/wat-plugin.mjs';

export default defineConfig({
  plugins: [watPlugin(), pagePlugin()],
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/bundles.ts'],
    // Tests start worker pools and processes of their own: a process for each test file keeps them apart.
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
