/**
 * Workers and the command line run from bundles: no test may see a stale one.
 */
import type { TestProject } from 'vitest/node';
import { ensureFresh } from '../src/build/fresh.mjs';

export default async function setup(project: TestProject): Promise<void> {
  await ensureFresh();
  project.onTestsRerun(async () => {
    await ensureFresh();
  });
}
