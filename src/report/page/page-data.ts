/**
 * What the page of a failure is made from: all that it shows, as JSON. Written by the replay, read by the script of the page.
 */

/** An entry of a page table that is not empty. */
export interface PageEntry {
  /** Page-table page and index: the same place has the same key in every state. */
  readonly key: string;
  readonly level: number;
  readonly gfn: number;
  readonly kind: 'table' | 'leaf' | 'frozen' | 'mmio';
  /** What it says: see `describeSpte`. */
  readonly text: string;
}

export interface PageTree {
  readonly root: number;
  readonly asId: number;
  /** An obsolete root: it maps what it maps until it is zapped. */
  readonly invalid: boolean;
  /** In pre-order. */
  readonly entries: readonly PageEntry[];
}

export interface PageThread {
  /** The kernel function that the thread is in; empty before the first. */
  readonly operation: string;
  /** Locks held, with the mode where there are two. */
  readonly holds: readonly string[];
  /** The lock that it queues for, or empty. */
  readonly waitsFor: string;
  /** Whether it is in an RCU read-side section. */
  readonly rcu: boolean;
  /** What the TLB of its vCPU holds; null for threads that run no vCPU. */
  readonly tlb: readonly string[] | null;
}

/** The machine at one moment. */
export interface PageState {
  /** Index in {@link PageData.forests}: most steps leave the page tables alone. */
  readonly forest: number;
  readonly threads: readonly PageThread[];
  /** Page-table pages that are out of the tree and not yet free: readers may still be in them. */
  readonly detached: readonly number[];
}

export interface PageRow {
  /** Steps taken before. */
  readonly step: number;
  /** Index of the thread. */
  readonly thread: number;
  readonly kind: string;
  readonly text: string;
}

export interface PageData {
  readonly scenario: string;
  /** What the scenario pits against what. */
  readonly pits: string;
  /** Bugs that were put back. */
  readonly bugs: readonly string[];
  /** The command that shows the same in a terminal. */
  readonly command: string;
  readonly finding: { readonly rule: string; readonly message: string } | null;
  readonly steps: number;
  readonly threads: readonly string[];
  readonly rows: readonly PageRow[];
  /** One more than rows: first the machine before the first row, then behind each. */
  readonly states: readonly PageState[];
  readonly forests: readonly (readonly PageTree[])[];
  /** The gfn that the finding names, and the rows that changed an SPTE of it. */
  readonly history: { readonly gfn: number; readonly rows: readonly number[] } | null;
}
