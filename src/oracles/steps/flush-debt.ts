/**
 * Step oracle: whoever takes a translation, or a right, away flushes the TLBs in time. What counts is the rule, not whether a
 * processor has the translation in this very execution:
 * - a leaf that is zapped in a valid root, and MMU-writable that is cleared for write tracking: before mmu_lock is released;
 * - a table that is removed from a valid root: before the RCU section ends, too;
 * - a frozen SPTE: before it is replaced, and nobody may map its range anew before that;
 * - W or D cleared for the dirty log: before slots_lock is released, that is, before the ioctl returns.
 * Nobody owes a flush for an invalid root, for a VM without vCPUs that run (zap_all), for aging, or for splitting a page.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { own } from '../../machine/point.ts';
import { any64 } from '../../machine/word64.ts';
import { type Level, PG_LEVEL_4K } from '../../mmu/level.ts';
import { isLastSpte, isShadowPresent, isWritable, type Spte, spteAdEnabled, sptePfn, spteToChildPage } from '../../mmu/spte.ts';
import { hex } from '../oracle.ts';
import type { SpteStep, StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';
import { TableStatus } from '../table-info.ts';
import type { ThreadView } from '../thread-view.ts';

export type DebtKind = 'leaf' | 'table' | 'protection' | 'log';

export interface Debt {
  readonly kind: DebtKind;
  readonly thread: number;
  readonly root: number;
  readonly gfn: number;
  readonly end: number;
  readonly sptep: number;
}

interface FlushUnderWay {
  readonly first: number;
  readonly end: number;
  /** What was open in its range when it began. */
  readonly pays: Debt[];
}

const covers = ({ first, end }: { readonly first: number; readonly end: number }, debt: Debt): boolean =>
  debt.gfn >= first && debt.end <= end;

/** The flushes that are owed; shared with the oracle of guest translations. */
export class FlushDebts {
  open: Debt[] = [];
  /** Each thread's flush under way: its range, and what it will pay. */
  readonly under = new Map<number, FlushUnderWay>();

  reset(): void {
    this.open = [];
    this.under.clear();
  }

  /** Whether a flush of `gfn` below `root` is owed. */
  owes(root: number, gfn: number): boolean {
    return this.open.some((debt) => debt.root === root && gfn >= debt.gfn && gfn < debt.end);
  }
}

const WHAT: Readonly<Record<DebtKind, string>> = {
  leaf: 'the leaf that it zapped',
  table: 'the table that it removed',
  protection: 'the write access that it took for good',
  log: 'the SPTE that it cleaned for the dirty log',
};

/** What must be flushed before each of the deadlines. */
const BY_MMU_UNLOCK: readonly DebtKind[] = ['leaf', 'table', 'protection'];
const BY_RCU_END: readonly DebtKind[] = ['table'];
const BY_RETURN: readonly DebtKind[] = ['log'];

export function flushDebtOracle(debts: FlushDebts = new FlushDebts()): StepOracle {
  const check = (world: StepWorld, thread: ThreadView, kinds: readonly DebtKind[], when: string): void => {
    for (const debt of debts.open) if (debt.thread === thread.id && kinds.includes(debt.kind)) overdue(world, thread, debt, when);
  };
  const overdue = (world: StepWorld, thread: ThreadView, debt: Debt, when: string): never => {
    const where = { thread: thread.id, gfn: debt.gfn, word: debt.sptep, root: debt.root };
    const message = `${thread.name} ${when} and owes a flush for ${WHAT[debt.kind]} at gfn ${hex(debt.gfn)}`;
    return world.fail(oracle, 'flush-owed', where, message);
  };
  const oracle: StepOracle = {
    name: 'flush-debt',
    help: 'TLBs are flushed before the deadline of each change, and before anything else is mapped',
    start() {
      debts.reset();
    },
    spte(world, step) {
      if (step.table.status !== TableStatus.linked) return;
      checkInstall(world, oracle, debts, step);
      const kind = debtOf(world, step);
      if (kind === null) return;
      const { thread, gfn, level, sptep, table } = step;
      const debt = { kind, thread: thread.id, root: table.root, gfn, end: gfn + world.kvm.geometry.span(level), sptep };
      debts.open.push(debt);
      // Issued before the flush began, and out of the store buffer before its first request, which is an atomic exchange.
      const flush = world.drained ? debts.under.get(thread.id) : undefined;
      if (flush !== undefined && covers(flush, debt)) flush.pays.push(debt);
    },
    flushBegun(_world, thread, first, end) {
      debts.under.set(thread.id, { first, end, pays: debts.open.filter((debt) => covers({ first, end }, debt)) });
    },
    flushDone(_world, thread) {
      const flush = debts.under.get(thread.id);
      if (flush !== undefined && flush.pays.length > 0) debts.open = debts.open.filter((debt) => !flush.pays.includes(debt));
      debts.under.delete(thread.id);
    },
    rcuLeft(world, thread) {
      if (debts.open.length > 0) check(world, thread, BY_RCU_END, 'leaves its RCU section');
    },
    lockReleased(world, thread, lock) {
      if (debts.open.length === 0) return;
      if (lock === LockNumber.mmuLock) check(world, thread, BY_MMU_UNLOCK, 'releases mmu_lock');
      if (lock === LockNumber.slotsLock) check(world, thread, BY_RETURN, 'releases slots_lock');
    },
  };
  return oracle;
}

/** A frozen SPTE that goes, and a leaf that comes, while a flush of what was there before is still owed. */
function checkInstall(world: StepWorld, oracle: StepOracle, debts: FlushDebts, step: SpteStep): void {
  if (debts.open.length === 0 || isShadowPresent(step.old)) return;
  const { thread, gfn, level, old, next, sptep, table } = step;
  const where = { thread: thread.id, gfn, level, word: sptep, root: table.root };
  if (world.kvm.spte.isFrozen(old) && debts.open.some((debt) => debt.sptep === sptep)) {
    world.fail(
      oracle,
      'thawed-before-flush',
      where,
      `${thread.name} replaces the frozen SPTE of gfn ${hex(gfn)} before the flush`,
    );
  }
  if (!isShadowPresent(next) || !isLastSpte(next, level)) return;
  const end = gfn + world.kvm.geometry.span(level);
  const owed = debts.open.find((d) => d.kind !== 'log' && d.root === table.root && d.gfn < end && gfn < d.end);
  if (owed === undefined) return;
  const who = world.threads[owed.thread].name;
  const message = `${thread.name} maps gfn ${hex(gfn)} anew, but ${who} has not flushed ${WHAT[owed.kind]} there yet`;
  world.fail(oracle, 'mapped-before-flush', where, message);
}

/** What a change owes, or null. */
function debtOf(world: StepWorld, { thread, gfn, level, old, next, table }: SpteStep): DebtKind | null {
  if (!isShadowPresent(old) || thread.operation === 'zap_all' || world.isInvalid(table.root)) return null;
  const { spte: format } = world.kvm;
  const stays = isShadowPresent(next);
  if (!isLastSpte(old, level)) return stays && !isLastSpte(next, level) ? null : 'table';
  if (!stays) return 'leaf';
  if (!isLastSpte(next, level)) return isSplit(world, old, level, spteToChildPage(next)) ? null : 'leaf';
  if (sptePfn(next) !== sptePfn(old)) return 'leaf';
  if (format.isAccessTracked(next)) return null;
  if (format.isExecutable(old) && !format.isExecutable(next)) return 'leaf';
  if (format.isMmuWritable(old) && !format.isMmuWritable(next)) {
    // Huge pages lose it for the dirty log, where the ioctl flushes; a page that becomes write-tracked loses it for good.
    return thread.protectLevel === PG_LEVEL_4K && gfn >= 0 ? 'protection' : 'log';
  }
  const lostWrite = isWritable(old) && !isWritable(next);
  const lostDirty = spteAdEnabled(old) && any64(old, format.dirty) && !any64(next, format.dirty);
  return lostWrite || lostDirty ? 'log' : null;
}

/** Whether the table maps what the huge page mapped, with no fewer rights: what splitting makes. */
function isSplit(world: StepWorld, huge: Spte, level: Level, page: number): boolean {
  const { geometry, pages, spte: format } = world.kvm;
  const span = geometry.span(level - 1);
  for (let i = 0; i < geometry.entries; i++) {
    const child = world.memory.load64(own(pages.sptep(page, i)));
    if (!isShadowPresent(child) || !isLastSpte(child, level - 1) || sptePfn(child) !== sptePfn(huge) + i * span) return false;
    if (isWritable(huge) && !isWritable(child)) return false;
    if (format.isExecutable(huge) && !format.isExecutable(child)) return false;
  }
  return true;
}
