/**
 * First-in-first-out lists of tasks: circular, linked through one array, named by their last member.
 *
 * A task is in at most one list at a time (it spins, or sleeps, or waits for its CPU), so all lists share the links. A list
 * is the number of its last task plus 1, or 0 where it is empty.
 */

/** Appends `task`; returns the list. */
export function ringAppend(next: Int32Array, last: number, task: number): number {
  if (last === 0) {
    next[task] = task;
  } else {
    next[task] = next[last - 1];
    next[last - 1] = task;
  }
  return task + 1;
}

/** The first task of a list that is not empty. */
export function ringFirst(next: Int32Array, last: number): number {
  return next[last - 1];
}

/** Removes the first task of a list that is not empty; returns the list. */
export function ringShift(next: Int32Array, last: number): number {
  const first = next[last - 1];
  if (first === last - 1) return 0;
  next[last - 1] = next[first];
  return last;
}

/** Removes `task`, which is a member; returns the list. */
export function ringRemove(next: Int32Array, last: number, task: number): number {
  let before = last - 1;
  while (next[before] !== task) before = next[before];
  if (before === task) return 0;
  next[before] = next[task];
  return task === last - 1 ? before + 1 : last;
}
