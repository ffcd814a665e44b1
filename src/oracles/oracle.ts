/**
 * What an oracle is: one invariant of the model, in a file of its own, that looks at a state and says what is wrong with it.
 *
 * A state oracle judges a quiescent state: no thread runs the MMU, vCPUs are outside the guest or between two accesses. A
 * violation is data, because it crosses from workers to the coordinator and into JSON.
 */
import type { QuiescentState } from './quiescent-state.ts';

/** Where something is wrong: whatever of this is known. */
export interface Where {
  readonly asId?: number;
  readonly gfn?: number;
  readonly level?: number;
  /** Root page. */
  readonly root?: number;
  /** Address of the SPTE, or of another word. */
  readonly word?: number;
  /** Page-table page. */
  readonly page?: number;
  readonly vcpu?: number;
  readonly thread?: number;
  readonly lock?: string;
  /** Id of the memslot. */
  readonly slot?: number;
  readonly pfn?: number;
}

export interface Violation {
  /** Name of the oracle. */
  readonly oracle: string;
  /** The rule that was broken, in kebab case: stable, for reports and tests. */
  readonly rule: string;
  readonly where: Where;
  readonly message: string;
  /** The last transitions of the SPTE, oldest first, where they were recorded. */
  readonly history?: readonly string[];
}

/** Where an oracle leaves what it finds. */
export interface Findings {
  report(rule: string, where: Where, message: string): void;
}

export interface StateOracle {
  readonly name: string;
  /** What must hold, in one line. */
  readonly help: string;
  check(state: QuiescentState, found: Findings): void;
}

/** What one oracle had to say. */
export interface OracleReport {
  readonly oracle: string;
  /** The first violations, up to a limit. */
  readonly violations: readonly Violation[];
  /** How many there were. */
  readonly total: number;
}

/** Findings of one oracle: keeps the first ones and counts the rest. */
export class Collector implements Findings {
  readonly oracle: string;
  readonly limit: number;
  readonly violations: Violation[] = [];
  total = 0;
  readonly #history: ((where: Where) => readonly string[]) | null;

  constructor(oracle: string, limit: number, history: ((where: Where) => readonly string[]) | null = null) {
    this.oracle = oracle;
    this.limit = limit;
    this.#history = history;
  }

  report(rule: string, where: Where, message: string): void {
    this.total++;
    if (this.violations.length >= this.limit) return;
    const history = this.#history?.(where) ?? [];
    const known = history.length > 0;
    this.violations.push({ oracle: this.oracle, rule, where, message, ...(known ? { history } : {}) });
  }

  get summary(): OracleReport {
    return { oracle: this.oracle, violations: this.violations, total: this.total };
  }
}

/** A number as the kernel prints gfns and pfns. */
export const hex = (n: number): string => `0x${n.toString(16)}`;
