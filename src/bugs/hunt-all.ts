/** Hunting many bugs, each with several policies, shared out over worker threads: a thread takes one bug after another. */
import { Piscina } from 'piscina';
import type { Policy } from '../engines/explore/options.ts';
import { workerFile } from '../engines/threads/worker-file.ts';
import { loadAllScenarios } from '../scenarios/library.ts';
import type { Scenario } from '../scenarios/scenario.ts';
import { type HuntResult, hunt } from './hunt.ts';
import { type Bug, findBug, switchesOf } from './index.ts';

/** What the hunts of one bug came to: a result for each policy. */
export interface BugHunt {
  readonly id: string;
  readonly results: readonly HuntResult[];
}

/** What one worker is asked for: plain data. */
export interface HuntTask {
  readonly id: string;
  readonly policies: readonly Policy[];
  /** For each policy. A policy that comes behind one that found the bug has {@link LATER_SHARE} of it. */
  readonly seconds: number;
}

export interface HuntAllOptions {
  readonly policies: readonly Policy[];
  readonly seconds: number;
  /** Worker threads; 1 hunts in this thread. */
  readonly jobs: number;
  /** Ends all hunts; what is not done by then is left out of the result. */
  readonly signal: AbortSignal;
  /** Called when a bug's hunts are done. */
  onDone(hunt: BugHunt): void;
}

/** That the bug can be found is known by then: a policy that is slow at it need not take long to say so. */
const LATER_SHARE = 0.25;

let scenarios: readonly Scenario[] | undefined;

/** Hunts one bug with each policy. */
export async function huntTask({ id, policies, seconds }: HuntTask, signal?: AbortSignal): Promise<BugHunt> {
  scenarios ??= loadAllScenarios();
  const switches = switchesOf(findBug(id) as Bug);
  const results: HuntResult[] = [];
  for (const policy of policies) {
    if (signal?.aborted) break;
    const caught = results.some((result) => result.caught !== null);
    results.push(await hunt(scenarios, switches, { policy, seconds: caught ? seconds * LATER_SHARE : seconds }));
  }
  return { id, results };
}

/** Hunts all of `bugs`; the result is in their order, whoever was done first. */
export async function huntAll(bugs: readonly Bug[], options: HuntAllOptions): Promise<BugHunt[]> {
  const { policies, seconds, jobs, signal } = options;
  const tasks = bugs.map(({ id }): HuntTask => ({ id, policies, seconds }));
  return jobs === 1 ? huntHere(tasks, options) : huntInPool(tasks, { ...options, jobs: Math.min(jobs, tasks.length), signal });
}

async function huntHere(tasks: readonly HuntTask[], { signal, onDone }: HuntAllOptions): Promise<BugHunt[]> {
  const done: BugHunt[] = [];
  for (const task of tasks) {
    // Lets a signal through: a hunt by sampling never waits for anything.
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (signal.aborted) break;
    const found = await huntTask(task, signal);
    done.push(found);
    onDone(found);
  }
  return done;
}

async function huntInPool(tasks: readonly HuntTask[], { jobs, signal, onDone }: HuntAllOptions): Promise<BugHunt[]> {
  if (signal.aborted) return [];
  const pool = new Piscina({
    filename: workerFile('hunt', false),
    minThreads: jobs,
    maxThreads: jobs,
    concurrentTasksPerWorker: 1,
    atomics: 'disabled',
  });
  const done = new Map<string, BugHunt>();
  // Ends the threads wherever they are; all hunts that are not done fail then.
  const end = (): void => void pool.destroy();
  signal.addEventListener('abort', end, { once: true });
  const hunts = tasks.map(async (task) => {
    const found: BugHunt = await pool.run(task);
    done.set(found.id, found);
    onDone(found);
  });
  try {
    await Promise.all(hunts);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', end);
    await pool.destroy();
    await Promise.allSettled(hunts);
  }
  return tasks.flatMap(({ id }) => done.get(id) ?? []);
}
