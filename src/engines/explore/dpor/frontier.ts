/**
 * What is left of a search beside the subtrees being worked on: the states that searchers gave away, each with what sleeps there
 * and which branches are still to be explored.
 *
 * A branch that was taken counts as sleeping for all that follow, whether it is finished or not: whoever works on it will
 * explore everything that begins with it. So each trace is explored once whatever the order in which items end, and the
 * result of a complete search does not depend on how many work on it.
 */
import type { GivenLevel, Level, Reduction, WorkItem } from './tree-search.ts';
import { ROOT_ITEM } from './tree-search.ts';
import { type Branch, insertSequence, insertSource, isInitial, isWeakInitial, Sequence } from './wakeup-tree.ts';

interface FrontierNode {
  readonly parent: FrontierNode | null;
  /** The task of the step that leads here from the parent. */
  readonly via: number;
  /** Steps from the start. */
  readonly depth: number;
  readonly sleep: number[];
  readonly pending: Branch[];
  /** Branches handed out or explored. */
  taken: number;
}

/** An item that was handed out: where it hangs, for reports from it. */
export interface Lease {
  readonly item: WorkItem;
  /** The state before the item's own first one. */
  tip: FrontierNode | null;
  /** The task of the step from there. */
  via: number;
}

export interface SavedNode {
  readonly parent: number;
  readonly via: number;
  readonly sleep: number[];
  readonly pending: Branch[];
}

export class Frontier {
  readonly #reduction: Reduction;
  /** Nodes with branches to explore, the ones given last at the end. */
  readonly #open: FrontierNode[] = [];
  #rootTaken = false;
  /** Items handed out and not finished. */
  leases = 0;

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
      this.leases++;
      return { item: ROOT_ITEM, tip: null, via: -1 };
    }
    const node = this.#open.at(-1);
    if (node === undefined) return null;
    const branch = node.pending.shift() as Branch;
    if (node.pending.length === 0) this.#open.pop();
    const path: number[] = [branch.task];
    const levels: Level[] = [];
    for (let n: FrontierNode | null = node; n !== null; n = n.parent) {
      levels.unshift({ sleep: [...n.sleep], pending: structuredClone(n.pending) });
      if (n.parent !== null) path.unshift(n.via);
    }
    if (this.#reduction !== 'none') node.sleep.push(branch.task, branch.access);
    node.taken++;
    this.leases++;
    return { item: { path, levels, guide: branch.children }, tip: node, via: branch.task };
  }

  /** The holder of a lease gives levels away. */
  give(lease: Lease, levels: readonly GivenLevel[]): void {
    for (const level of levels) {
      const node: FrontierNode = {
        parent: lease.tip,
        via: lease.via,
        depth: lease.tip === null ? 0 : lease.tip.depth + 1,
        sleep: level.sleep,
        pending: level.pending,
        taken: 1,
      };
      if (node.pending.length > 0) this.#open.push(node);
      lease.tip = node;
      lease.via = level.task;
    }
  }

  /** The holder of a lease found that a sequence must be explored from the state at `depth` above it. */
  reverse(lease: Lease, depth: number, tasks: ArrayLike<number>, accesses: ArrayLike<number>): void {
    let node = lease.tip;
    while (node !== null && node.depth > depth) node = node.parent;
    if (node === null) return;
    const sequence = new Sequence();
    for (let i = 0; i < tasks.length; i++) sequence.push(tasks[i], accesses[i]);
    const optimal = this.#reduction === 'optimal';
    const covers = optimal ? isWeakInitial : isInitial;
    for (let s = 0; s < node.sleep.length; s += 2) if (covers(node.sleep[s], node.sleep[s + 1], sequence)) return;
    const closed = node.pending.length === 0;
    const added = (optimal ? insertSequence : insertSource)(node.pending, sequence);
    if (added && closed) this.#open.push(node);
  }

  /** The holder of a lease has nothing left to do. */
  finish(): void {
    this.leases--;
  }

  /** All that is left, for a checkpoint. Nobody may be at work. */
  save(): { rootTaken: boolean; nodes: SavedNode[] } {
    const index = new Map<FrontierNode, number>();
    const nodes: SavedNode[] = [];
    const enter = (node: FrontierNode): number => {
      const known = index.get(node);
      if (known !== undefined) return known;
      const parent = node.parent === null ? -1 : enter(node.parent);
      index.set(node, nodes.length);
      nodes.push({ parent, via: node.via, sleep: node.sleep, pending: node.pending });
      return nodes.length - 1;
    };
    for (const node of this.#open) enter(node);
    return { rootTaken: this.#rootTaken, nodes };
  }

  /** Takes up what {@link save} left. */
  load(saved: { rootTaken: boolean; nodes: readonly SavedNode[] }): void {
    this.#rootTaken = saved.rootTaken;
    const nodes: FrontierNode[] = [];
    for (const s of saved.nodes) {
      const parent = s.parent < 0 ? null : nodes[s.parent];
      const depth = parent === null ? 0 : parent.depth + 1;
      const node = { parent, via: s.via, depth, sleep: s.sleep, pending: s.pending, taken: 0 };
      nodes.push(node);
      if (node.pending.length > 0) this.#open.push(node);
    }
  }

  /** The share of the tree that is explored, where `share` of every item at work is: an estimate from the branches known. */
  share(share: number): number {
    if (!this.#rootTaken) return 0;
    let left = 0;
    for (const node of this.#open) {
      let weight = node.pending.length / (node.pending.length + node.taken);
      for (let n = node.parent; n !== null; n = n.parent) weight /= n.pending.length + n.taken;
      left += weight;
    }
    return Math.max(0, (1 - left) * (this.leases > 0 ? share : 1));
  }
}
