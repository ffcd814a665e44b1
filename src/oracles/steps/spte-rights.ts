/**
 * Step oracle: an SPTE is changed by those who may, in the way in which they may.
 *
 * The processor adds A and D. A fast page fault gives W back or restores an access-tracked SPTE, by an exchange, inside an RCU
 * section. All others hold mmu_lock: for read they exchange, and leave a frozen SPTE to the one who froze it, who alone may
 * store over it; for write they store, but exchange what the processor or a fast page fault may change under their hands.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { StepKind } from '../../machine/point.ts';
import { Held } from '../../machine/thread.ts';
import { andNot64, equal64, or64 } from '../../machine/word64.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import { isShadowPresentLeaf, type Spte, WRITABLE_BIT } from '../../mmu/spte.ts';
import { hex } from '../oracle.ts';
import type { SpteStep, StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';
import { TableStatus } from '../table-info.ts';

export function spteRightsOracle(): StepOracle {
  /** The thread that froze each frozen SPTE. */
  const freezers = new Map<number, number>();
  const oracle: StepOracle = {
    name: 'spte-rights',
    help: 'SPTEs are changed under the right lock, atomically where others may change them, and frozen ones by their owner',
    start() {
      freezers.clear();
    },
    spte(world, step) {
      if (step.table.status === TableStatus.private || step.table.status === TableStatus.free) return;
      if (!isByHardware(world, step) && !isFastFault(world, step)) checkLocked(world, oracle, step, freezers);
      if (world.kvm.spte.isFrozen(step.next)) freezers.set(step.sptep, step.thread.id);
      else if (freezers.size > 0) freezers.delete(step.sptep);
    },
  };
  return oracle;
}

function isByHardware(world: StepWorld, { thread, kind, old, next }: SpteStep): boolean {
  const { spte } = world.kvm;
  if (kind !== StepKind.Rmw || !world.vcpuInGuest(thread.vcpu)) return false;
  const bits = or64(spte.accessed, spte.dirty);
  return equal64(andNot64(next, bits), andNot64(old, bits)) && equal64(or64(old, next), next);
}

/** Whether the change is one that fast_page_fault makes: W where it may be, or what aging took. */
function isFastFault(world: StepWorld, step: SpteStep): boolean {
  const { thread, kind, level, old, next } = step;
  if (kind !== StepKind.Rmw || thread.held[LockNumber.mmuLock] !== Held.no || !thread.inRcu || thread.vcpu < 0) return false;
  if (!isShadowPresentLeaf(old, level) || !isShadowPresentLeaf(next, level)) return false;
  const { spte } = world.kvm;
  const restored: Spte = spte.isAccessTracked(old) ? spte.restoreAccessTrack(old) : old;
  if (equal64(next, restored)) return true;
  return spte.isMmuWritable(old) && equal64(next, or64(restored, WRITABLE_BIT));
}

function checkLocked(world: StepWorld, oracle: StepOracle, step: SpteStep, freezers: ReadonlyMap<number, number>): void {
  const { thread, kind, sptep, level, old } = step;
  const { spte: format } = world.kvm;
  const held = thread.held[LockNumber.mmuLock];
  const frozen = format.isFrozen(old);
  // A store that leaves its buffer late: what was held when it was issued cannot be told any more.
  const late = world.drained;
  if (held === Held.no && !late) refuse(world, oracle, step, 'spte-without-lock', 'without mmu_lock');
  if (frozen && freezers.get(sptep) !== thread.id) {
    const frozenBy = freezers.get(sptep);
    const who = frozenBy === undefined ? 'an unknown thread' : world.threads[frozenBy].name;
    refuse(world, oracle, step, 'frozen-by-another', `which ${who} froze`);
  }
  if (kind !== StepKind.Write || late) return;
  if (held === Held.read && !frozen) {
    refuse(world, oracle, step, 'plain-store-shared', 'by a plain store, with mmu_lock held for read');
  }
  if (held === Held.write && losesChanges(world.kvm, old, level)) {
    refuse(world, oracle, step, 'plain-store-volatile', 'by a plain store, over bits that change without mmu_lock');
  }
}

function refuse(world: StepWorld, oracle: StepOracle, step: SpteStep, rule: string, why: string): never {
  const { thread, sptep, page, gfn, level, old, next } = step;
  const change = `${thread.name} changes the SPTE of gfn ${hex(gfn)}, level ${level}, from ${old} to ${next}`;
  return world.fail(oracle, rule, { thread: thread.id, word: sptep, page, gfn, level }, `${change}, ${why}`);
}

function losesChanges(kvm: Kvm, old: Spte, level: number): boolean {
  return kvm.generation.exchangeVolatile && isShadowPresentLeaf(old, level) && kvm.spte.isVolatile(old);
}
