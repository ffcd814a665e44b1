/**
 * Wakeup trees: what is still to be explored from a state, as sequences of tasks that share their beginnings.
 *
 * Mirrors section 6 of Abdulla, Aronis, Jonsson, Sagonas: "Source Sets: A Foundation for Optimal Dynamic Partial Order
 * Reduction" (J. ACM 64(4), 2017). A sequence is added only where no branch (nor any task that sleeps) already leads to
 * an equivalent execution.
 */
import { Access, conflict } from '../access.ts';
import { wider } from '../wider.ts';

/** A step to take, and what to take after it; a branch without children leaves the rest free. */
export interface Branch {
  readonly task: number;
  /** The access that the step came to in the execution that it was taken from. */
  readonly access: number;
  readonly children: Branch[];
}

/** A sequence of steps, in arrays that are used again and again. */
export class Sequence {
  task = new Int32Array(64);
  access = new Int32Array(64);
  length = 0;

  push(task: number, access: number): void {
    if (this.length === this.task.length) this.#grow();
    this.task[this.length] = task;
    this.access[this.length++] = access;
  }

  /** Removes the first step of `task`, if it has any. */
  removeFirst(task: number): void {
    for (let i = 0; i < this.length; i++) {
      if (this.task[i] !== task) continue;
      this.task.copyWithin(i, i + 1, this.length);
      this.access.copyWithin(i, i + 1, this.length);
      this.length--;
      return;
    }
  }

  #grow(): void {
    this.task = wider(this.task);
    this.access = wider(this.access);
  }
}

/**
 * Whether `task`, whose next step comes to `access`, is a weak initial of the sequence: some execution that begins with
 * that step is equivalent to a continuation of the sequence. So it is if nothing in the sequence before the task's own first
 * step conflicts with it; and an `until` that can be taken now can be taken before anything.
 */
export function isWeakInitial(task: number, access: number, sequence: Sequence): boolean {
  if ((access & 3) === Access.until) return true;
  const { task: tasks, access: accesses, length } = sequence;
  for (let i = 0; i < length; i++) {
    if (tasks[i] === task) return true;
    if (conflict(accesses[i], access)) return false;
  }
  return true;
}

/** Whether the first step of `task` in the sequence, which it must have (but for an `until`), can be moved to the front. */
export function isInitial(task: number, access: number, sequence: Sequence): boolean {
  if ((access & 3) === Access.until) return true;
  const { task: tasks, access: accesses, length } = sequence;
  for (let i = 0; i < length; i++) {
    if (tasks[i] === task) return true;
    if (conflict(accesses[i], access)) return false;
  }
  return false;
}

/**
 * Adds the sequence (which is used up) to the branches of a state, unless a branch covers it.
 * @returns whether anything was added
 */
export function insertSequence(branches: Branch[], sequence: Sequence): boolean {
  let children = branches;
  for (;;) {
    let next: Branch | null = null;
    for (let i = 0; i < children.length; i++) {
      const b = children[i];
      if (isWeakInitial(b.task, b.access, sequence)) {
        next = b;
        break;
      }
    }
    if (next === null) break;
    if (next.children.length === 0) return false;
    sequence.removeFirst(next.task);
    children = next.children;
  }
  for (let i = 0; i < sequence.length; i++) {
    const branch: Branch = { task: sequence.task[i], access: sequence.access[i], children: [] };
    children.push(branch);
    children = branch.children;
  }
  return true;
}

/**
 * The same for source sets: only the first step is kept, and nothing is added where a branch is an initial already. (A weak
 * initial would not do: it is the rest of the sequence, which is not kept, that would make up for the difference.)
 * @returns whether anything was added
 */
export function insertSource(branches: Branch[], sequence: Sequence): boolean {
  for (const b of branches) if (isInitial(b.task, b.access, sequence)) return false;
  branches.push({ task: sequence.task[0], access: sequence.access[0], children: [] });
  return true;
}
