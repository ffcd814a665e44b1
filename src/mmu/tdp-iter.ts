/**
 * The walk over a TDP page table and nothing else (kernel: arch/x86/kvm/mmu/tdp_iter.{h,c}, 6.12).
 *
 * A walk is pre-order: an entry is visited, then, where it links a table, the table's entries. Stepping down reads the entry
 * again, so that a table that appeared since is found and one that went is not followed. All slot addresses that the
 * iterator holds are good inside the current RCU section only: whoever leaves it sets `yielded`, and the next step then
 * starts again from the root towards the goal.
 */

import { Cost } from '../machine/cost.ts';
import { invariant } from '../machine/invariant.ts';
import { type Address, read, spend, type Task } from '../machine/point.ts';
import { MmuCounter } from './counters.ts';
import type { Kvm } from './kvm.ts';
import { asGfn, type Gfn, type Level } from './level.ts';
import { roleAsId, roleLevel } from './mmu-page.ts';
import { IterMode } from './params.ts';
import { isShadowPresent, isTableLo, type Spte, tablePageLo } from './spte.ts';

const MAX_LEVELS = 6;
/** Bit 11 of an SPTE's low half: KVM's "present". */
const MMU_PRESENT = 1 << 11;

export class TdpIter {
  /** The gfn that the walk is heading for (next_last_level_gfn): it only grows. */
  goal: Gfn = asGfn(0);
  /** The goal when the walk last started or restarted: no yielding before it moved on. */
  yieldedGfn: Gfn = asGfn(0);
  /** Page-table page in use at each level. */
  readonly path = new Int32Array(MAX_LEVELS);
  sptep = 0 as Address;
  /** Lowest gfn that the current SPTE maps. */
  gfn: Gfn = asGfn(0);
  root = 0;
  rootLevel: Level = 0;
  minLevel: Level = 0;
  level: Level = 0;
  asId = 0;
  /** The SPTE as it was read last. Under the read lock it may have changed since. */
  oldSpte: Spte;
  valid = false;
  /** mmu_lock was dropped: the walk must restart before anything it points to is used. */
  yielded = false;
  index = 0;
  /** The walk wants to see empty entries, too, whatever mode walks have: a fault looks for the place to map at. */
  readonly everyEntry: boolean;

  constructor(initial: Spte, everyEntry = false) {
    this.oldSpte = initial;
    this.everyEntry = everyEntry;
  }

  /** Whether the entry belongs to a walk that ends before `end`. */
  inside(end: Gfn): boolean {
    return this.valid && this.gfn < end;
  }
}

/** Begins a walk of the tree below `root` towards `goal`, visiting levels from the root's down to `minLevel`. */
export function* tdpIterStart(kvm: Kvm, iter: TdpIter, root: number, minLevel: Level, goal: Gfn): Task<void> {
  kvm.trace?.iterStart(minLevel, goal, root);
  kvm.counters[MmuCounter.iter_walks]++;
  if (goal >= kvm.geometry.maxGfn) {
    iter.valid = false;
    return;
  }
  const role = kvm.pages.role(root);
  iter.goal = goal;
  iter.root = root;
  iter.rootLevel = roleLevel(role);
  iter.asId = roleAsId(role);
  iter.minLevel = minLevel;
  iter.path[iter.rootLevel] = root;
  yield spend(Cost.walkStart);
  yield* tdpIterRestart(kvm, iter);
}

/** Goes back to the root, keeping the goal. */
export function* tdpIterRestart(kvm: Kvm, iter: TdpIter): Task<void> {
  kvm.trace?.iterRestart(iter.goal);
  iter.yielded = false;
  iter.yieldedGfn = iter.goal;
  iter.level = iter.rootLevel;
  iter.gfn = kvm.geometry.round(iter.goal, iter.level);
  yield* refreshSptep(kvm, iter);
  iter.valid = true;
}

function* refreshSptep(kvm: Kvm, iter: TdpIter): Task<void> {
  iter.index = kvm.geometry.index(iter.gfn, iter.level);
  iter.sptep = kvm.pages.sptep(iter.path[iter.level], iter.index);
  yield* readSptep(kvm, iter);
}

function* readSptep(kvm: Kvm, iter: TdpIter): Task<void> {
  yield spend(Cost.iterStep);
  iter.oldSpte = kvm.memory.load64(yield read(iter.sptep));
  kvm.counters[MmuCounter.iter_steps]++;
}

/** Moves to the next SPTE in pre-order, or to the root again after a yield; `valid` is false where the walk is over. */
export function* tdpIterNext(kvm: Kvm, iter: TdpIter): Task<void> {
  if (iter.yielded) {
    kvm.counters[MmuCounter.iter_restarts]++;
    yield* tdpIterRestart(kvm, iter);
    if (kvm.bugs['tdp-iter-advance-after-restart'] !== true) return;
  }
  if (yield* tryStepDown(kvm, iter)) return;
  do {
    if (yield* tryStepSide(kvm, iter)) return;
  } while (yield* tryStepUp(kvm, iter));
  iter.valid = false;
}

function* tryStepDown(kvm: Kvm, iter: TdpIter): Task<boolean> {
  if (iter.level === iter.minLevel) return false;
  // Read again: since the last look a table may have been linked, removed, or replaced by a leaf.
  iter.oldSpte = kvm.memory.load64(yield read(iter.sptep));
  if (!isTableLo(iter.oldSpte.lo, iter.level)) return false;
  iter.level--;
  iter.path[iter.level] = tablePageLo(iter.oldSpte.lo);
  iter.gfn = kvm.geometry.round(iter.goal, iter.level);
  yield* refreshSptep(kvm, iter);
  return true;
}

function* tryStepSide(kvm: Kvm, iter: TdpIter): Task<boolean> {
  const last = kvm.geometry.entries - 1;
  if (iter.index === last) return false;
  let step = 1;
  if (!iter.everyEntry && kvm.params.iterMode === IterMode.onlyPresent) {
    // Christopherson's answer: no walk but a fault's has any use for empty entries, so none visits them.
    while (iter.index + step <= last && !(yield* presentAt(kvm, iter, step))) step++;
    if (iter.index + step > last) {
      advance(kvm, iter, last - iter.index);
      return false;
    }
  }
  advance(kvm, iter, step);
  yield* readSptep(kvm, iter);
  return true;
}

/** Whether the entry `n` places on in the same table is present. */
function* presentAt(kvm: Kvm, iter: TdpIter, n: number): Task<boolean> {
  return (kvm.memory.load32(yield read((iter.sptep + 2 * n) as Address)) & MMU_PRESENT) !== 0;
}

/** Moves `n` entries on in the same table: the goal moves along, or the walk would come back to where it was. */
function advance(kvm: Kvm, iter: TdpIter, n: number): void {
  iter.index += n;
  iter.gfn = (iter.gfn + n * kvm.geometry.span(iter.level)) as Gfn;
  iter.sptep = (iter.sptep + 2 * n) as Address;
  if (kvm.bugs['iter-skip-breaks-iterator-state'] !== true || n === 1) iter.goal = iter.gfn;
}

/**
 * Kauer's proposal ("Fast forward the iterator when zapping the TDP MMU", 2024): the body of a walk that has no use for an
 * empty entry moves on to the next present one of its table, by at most `count` entries, so that the walk still comes by its
 * test for yielding. Costs no step of the walk.
 *
 * @returns whether the entry reached is not present either
 */
export function* tdpIterSkipNotPresent(kvm: Kvm, iter: TdpIter, count: number): Task<boolean> {
  if (iterPresent(iter)) return false;
  const most = Math.min(count, kvm.geometry.entries - 1 - iter.index);
  if (most === 0) return true;
  let n = 0;
  let present = false;
  while (n < most && !present) present = yield* presentAt(kvm, iter, ++n);
  advance(kvm, iter, n);
  iter.oldSpte = kvm.memory.load64(yield read(iter.sptep));
  return !iterPresent(iter);
}

function* tryStepUp(kvm: Kvm, iter: TdpIter): Task<boolean> {
  if (iter.level === iter.rootLevel) return false;
  iter.level++;
  iter.gfn = kvm.geometry.round(iter.gfn, iter.level);
  // The entry is not visited a second time: a step aside follows. Its value is read for the sake of that step only.
  iter.index = kvm.geometry.index(iter.gfn, iter.level);
  iter.sptep = kvm.pages.sptep(iter.path[iter.level], iter.index);
  iter.oldSpte = kvm.memory.load64(yield read(iter.sptep));
  return true;
}

/** Asserts that the walk may use what it points to. */
export function assertNotYielded(iter: TdpIter): void {
  invariant(!iter.yielded, 'iter-used-after-yield', 'an SPTE pointer was used after mmu_lock had been dropped');
}

/** Whether the SPTE just read is present: the test of most walks. */
export function iterPresent(iter: TdpIter): boolean {
  return isShadowPresent(iter.oldSpte);
}
