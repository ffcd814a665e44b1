/**
 * The page table as a dump of the live tables shows it: entries in pre-order, runs of leaves with equal bits folded.
 */
import { own } from '../../machine/point.ts';
import { equal64, hex64 } from '../../machine/word64.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import { KvmWord } from '../../mmu/kvm.ts';
import { PageHeader, roleAsId, roleInvalid, roleLevel } from '../../mmu/mmu-page.ts';
import { isTableLo, type Spte, tablePageLo } from '../../mmu/spte.ts';
import type { StateRow } from './event.ts';
import { spteBits } from './spte-run.ts';

/** An entry that is not empty. */
export interface TableEntry {
  readonly gfn: number;
  readonly level: number;
  readonly spte: Spte;
  readonly table: boolean;
}

/** The valid root of address space `asId`, or 0. Nobody else runs. */
export function validRoot(kvm: Kvm, asId: number): number {
  const { memory, pages } = kvm;
  let root = memory.load32(own(kvm.word(KvmWord.roots)));
  while (root !== 0) {
    const role = memory.load32(own(pages.word(root, PageHeader.role)));
    if (!roleInvalid(role) && roleAsId(role) === asId) return root;
    root = memory.load32(own(pages.word(root, PageHeader.rootNext)));
  }
  return 0;
}

/** Calls `visit` for every entry below `root` that is not empty, tables before what they hold. */
export function visitTables(kvm: Kvm, root: number, visit: (entry: TableEntry) => void): void {
  const { geometry, memory, pages, spte: layout } = kvm;
  const walk = (page: number, level: number, base: number): void => {
    for (let i = 0; i < geometry.entries; i++) {
      const spte = memory.load64(own(pages.sptep(page, i)));
      if (equal64(spte, layout.nonpresent)) continue;
      const gfn = base + i * geometry.span(level);
      const table = isTableLo(spte.lo, level);
      visit({ gfn, level, spte, table });
      if (table) walk(tablePageLo(spte.lo), level - 1, gfn);
    }
  };
  walk(root, roleLevel(pages.role(root)), 0);
}

/** The dump of the valid root of address space 0; null where there is none. */
export function dumpState(kvm: Kvm): readonly StateRow[] | null {
  const root = validRoot(kvm, 0);
  if (root === 0) return null;
  const rows: StateRow[] = [];
  visitTables(kvm, root, ({ gfn, level, spte, table }) => {
    const bits = hex64(spteBits(spte));
    const last = rows.at(-1);
    const continues =
      last !== undefined &&
      !table &&
      !last.table &&
      last.level === level &&
      last.bits === bits &&
      last.gfn + last.n * kvm.geometry.span(level) === gfn;
    if (continues) rows[rows.length - 1] = { ...last, n: last.n + 1 };
    else rows.push({ gfn, level, table, n: 1, bits });
  });
  return rows;
}
