// coroutines
/** A thread that hunts bugs of the catalogue, one after another. */
import type { BugHunt, HuntTask } from '../src/bugs/hunt-all.ts';
import { huntTask } from '../src/bugs/hunt-all.ts';

export default function run(task: HuntTask): Promise<BugHunt> {
  return huntTask(task);
}
