/**
 * What is left of a search beside the subtrees being worked on: the states that searchers gave away, each with what sleeps
 * there and which branches are still to be explored.
 *
 * A branch that was taken sleeps for all that are taken after it, finished or not: whoever works on it explores what begins
 * with it. So each trace is explored once whatever the order in which items end, and the result of a complete search
 * does not depend on how many work on it. Only one thing does. One searcher finishes a branch before it takes the next, so that
 * whatever the first finds guides the next; that is what makes it safe to leave out sequences of which a sleeper is only a
 * *weak* initial, and so never to begin what must be given up. As soon as several are at work, what sleeps in states that were
 * given away is *foreign*: only what truly begins with it is left out (see `isInitial`), each item is complete by itself,
 * as with source sets, and an execution must be given up now and then.
 */
import { type GivenLevel, type Level, type Reduction, ROOT_ITEM, type WorkItem } from './tree-search.ts';
import { type Branch, insertSequence, insertSource, isInitial, isWeakInitial, Sequence } from './wakeup-tree.ts';

/** A branch that was taken. */
interface Entry {
  readonly task: number;
  readonly access: number;
}

interface FrontierNode {
  readonly parent: FrontierNode | null;
  /** Which of the parent's branches leads here. */
  readonly entry: Entry | null;
  readonly depth: number;
  /** What sleeps here because of states above. */
  readonly sleep: readonly number[];
  readonly entries: Entry[];
  readonly pending: Branch[];
}

/** An item that was handed out, and where it hangs. */
export interface Lease {
  readonly item: WorkItem;
  /** The state before the item's own first one; null at the root. */
  node: FrontierNode | null;
  /** The branch of that state that is being worked on. */
  entry: Entry | null;
}

export interface SavedNode {
  /** Index of the parent and of its entry, or -1. */
  readonly parent: number;
  readonly entry: number;
  readonly sleep: readonly number[];
  /** Pairs of task and access. */
  readonly entries: readonly number[];
  readonly pending: readonly Branch[];
}

export interface SavedFrontier {
  readonly rootTaken: boolean;
  readonly shared: boolean;
  readonly nodes: readonly SavedNode[];
}

export class Frontier {
  readonly #reduction: Reduction;
  /** Nodes with branches to explore. */
  readonly #open: FrontierNode[] = [];
  #rootTaken = false;
  #leases = 0;
  /** Whether there ever were several at work. */
  #shared = false;

  constructor(reduction: Reduction) {
    this.#reduction = reduction;
  }

  /** Whether there is something to hand out. */
  get available(): boolean {
    return !this.#rootTaken || this.#open.length > 0;
  }

  /** Hands out an item, or null where there is none at the moment. */
  take(): Lease | null {
    if (!this.#rootTaken) {
      this.#rootTaken = true;
      this.#leases++;
      return { item: ROOT_ITEM, node: null, entry: null };
    }
    const node = this.#deepest();
    if (node === null) return null;
    if (this.#leases > 0) this.#shared = true;
    const branch = node.pending.shift() as Branch;
    if (node.pending.length === 0) this.#open.splice(this.#open.indexOf(node), 1);
    const path: number[] = [branch.task];
    const levels: Level[] = [];
    for (let n: FrontierNode | null = node; n !== null; n = n.parent) {
      levels.unshift({ sleep: this.#sleepers(n), pending: structuredClone(n.pending) });
      if (n.entry !== null) path.unshift(n.entry.task);
    }
    const entry: Entry = { task: branch.task, access: branch.access };
    node.entries.push(entry);
    this.#leases++;
    return { item: { path, levels, guide: branch.children }, node, entry };
  }

  /** The holder of a lease gives levels away. */
  give(lease: Lease, levels: readonly GivenLevel[]): void {
    for (const level of levels) {
      const node: FrontierNode = {
        parent: lease.node,
        entry: lease.entry,
        depth: lease.node === null ? 0 : lease.node.depth + 1,
        sleep: level.sleep,
        entries: [],
        pending: level.pending,
      };
      if (node.pending.length > 0) this.#open.push(node);
      lease.node = node;
      lease.entry = null;
      if (level.task < 0) continue;
      lease.entry = { task: level.task, access: level.access };
      node.entries.push(lease.entry);
    }
  }

  /** The holder of a lease found that a sequence must be explored from the state at `depth` above it. */
  reverse(lease: Lease, depth: number, tasks: ArrayLike<number>, accesses: ArrayLike<number>): void {
    let node = lease.node;
    while (node !== null && node.depth > depth) node = node.parent;
    if (node === null) return;
    const sequence = new Sequence();
    for (let i = 0; i < tasks.length; i++) sequence.push(tasks[i], accesses[i]);
    if (isCovered(this.#sleepers(node), sequence, this.#reduction)) return;
    const closed = node.pending.length === 0;
    const added = (this.#reduction === 'optimal' ? insertSequence : insertSource)(node.pending, sequence);
    if (added && closed) this.#open.push(node);
  }

  /** The holder of a lease has nothing left to do. */
  finish(): void {
    this.#leases--;
  }

  /** The deepest state with something to explore: the one that a single searcher would go on with. */
  #deepest(): FrontierNode | null {
    let deepest: FrontierNode | null = null;
    for (const node of this.#open) if (deepest === null || node.depth >= deepest.depth) deepest = node;
    return deepest;
  }

  /** What sleeps at a node, as levels have it. */
  #sleepers(node: FrontierNode): number[] {
    if (this.#reduction === 'none') return [];
    const sleep = [...node.sleep];
    for (const e of node.entries) sleep.push(e.task, e.access);
    if (this.#shared) for (let s = 0; s < sleep.length; s += 2) if (sleep[s] >= 0) sleep[s] = ~sleep[s];
    return sleep;
  }

  /** All that is left, for a checkpoint. Nobody may be at work. */
  save(): SavedFrontier {
    const index = new Map<FrontierNode, number>();
    const nodes: SavedNode[] = [];
    const enter = (node: FrontierNode): number => {
      const known = index.get(node);
      if (known !== undefined) return known;
      const parent = node.parent === null ? -1 : enter(node.parent);
      const entry = node.parent === null || node.entry === null ? -1 : node.parent.entries.indexOf(node.entry);
      index.set(node, nodes.length);
      const entries = node.entries.flatMap((e) => [e.task, e.access]);
      nodes.push({ parent, entry, sleep: node.sleep, entries, pending: node.pending });
      return nodes.length - 1;
    };
    for (const node of this.#open) enter(node);
    return { rootTaken: this.#rootTaken, shared: this.#shared, nodes };
  }

  /** Takes up what {@link save} left. */
  load(saved: SavedFrontier): void {
    this.#rootTaken = saved.rootTaken;
    this.#shared = saved.shared;
    const nodes: FrontierNode[] = [];
    for (const s of saved.nodes) {
      const parent = s.parent < 0 ? null : nodes[s.parent];
      const entry = parent === null ? null : parent.entries[s.entry];
      const entries: Entry[] = [];
      for (let i = 0; i < s.entries.length; i += 2) {
        entries.push({ task: s.entries[i], access: s.entries[i + 1] });
      }
      const depth = parent === null ? 0 : parent.depth + 1;
      nodes.push({ parent, entry, depth, sleep: s.sleep, entries, pending: [...s.pending] });
    }
    for (const node of nodes) if (node.pending.length > 0) this.#open.push(node);
  }

  /** The share of the tree that is explored, where `share` of every item at work is: an estimate from the branches known. */
  share(share: number): number {
    if (!this.#rootTaken) return 0;
    let left = 0;
    for (const node of this.#open) {
      let weight = 1;
      for (let n: FrontierNode | null = node; n !== null; n = n.parent) {
        weight *= (n === node ? n.pending.length : 1) / (n.pending.length + n.entries.length);
      }
      left += weight;
    }
    return Math.max(0, (1 - left) * (this.#leases > 0 ? share : 1));
  }
}

/** Whether one of the sleepers (pairs of task and access; the task complemented where it is foreign) covers the sequence. */
export function isCovered(sleep: readonly number[], sequence: Sequence, reduction: Reduction): boolean {
  for (let s = 0; s < sleep.length; s += 2) {
    const foreign = sleep[s] < 0;
    const covers = foreign || reduction !== 'optimal' ? isInitial : isWeakInitial;
    if (covers(foreign ? ~sleep[s] : sleep[s], sleep[s + 1], sequence)) return true;
  }
  return false;
}
