/** Where a page-table page is, as step oracles know it. */
import { asGfn, type Gfn, type Level } from '../mmu/level.ts';

export const TableStatus = { free: 0, private: 1, linked: 2, removed: 3 } as const;
export type TableStatus = (typeof TableStatus)[keyof typeof TableStatus];

export class TableInfo {
  status: TableStatus = TableStatus.free;
  /** The thread that has it in hand while it is private. */
  owner = -1;
  root = 0;
  level: Level = 0;
  gfn: Gfn = asGfn(0);
  /** Whether the page, or its place, is no longer as it was at the start of the execution. */
  changed = false;

  copy(other: TableInfo): void {
    this.status = other.status;
    this.owner = other.owner;
    this.root = other.root;
    this.level = other.level;
    this.gfn = other.gfn;
    this.changed = false;
  }
}
