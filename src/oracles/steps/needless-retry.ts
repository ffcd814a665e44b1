/**
 * Step oracle, for cost: faults heed invalidations, but only those of their gfn. A fault does not wait for an invalidation that does
 * not concern it, and one whose gfn was being invalidated all along does not queue for mmu_lock to find that out (6.8).
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { own } from '../../machine/point.ts';
import { KvmWord } from '../../mmu/kvm.ts';
import { RetPf, RetryReason } from '../../mmu/page-fault-info.ts';
import { Site } from '../../mmu/site.ts';
import type { Vm } from '../../vm/vm.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';
import type { ThreadView } from '../thread-view.ts';

/** How often in a row the test without mmu_lock may err. */
const UNLOCKED_ERRORS = 2;

export function needlessRetryOracle(): StepOracle {
  /** For each thread: the sequence at which its fault began, where its gfn was being invalidated then; else -1. */
  const doomed: number[] = [];
  /** For each thread, retries in a row for ranges of others, without mmu_lock. */
  const refused: number[] = [];

  const refuse = (world: StepWorld, thread: ThreadView, gfn: number): never => {
    const message = `${thread.name} retries its fault on gfn ${hex(gfn)}, which nobody invalidates`;
    return world.fail(oracle, 'retry-for-others', { thread: thread.id, gfn }, message);
  };

  const oracle: StepOracle = {
    name: 'needless-retry',
    help: 'faults retry, and queue for mmu_lock, for no invalidation but one of their gfn',
    start() {
      doomed.length = 0;
      refused.length = 0;
    },
    pageFault(world, thread, gfn) {
      doomed[thread.id] = inWindow(world.vm, gfn) && open(world.vm) ? sequence(world.vm) : -1;
    },
    lockWanted(world, thread, lock, _mode, site) {
      if (lock !== LockNumber.mmuLock || site !== Site.kvm_tdp_page_fault) return;
      const { vm } = world;
      if (thread.cpu === null || !vm.kvm.generation.unlockedRetryTest) return;
      const { gfn } = thread.cpu.mmu.fault;
      if (doomed[thread.id] !== sequence(vm) || !open(vm) || !inWindow(vm, gfn)) return;
      const message = `${thread.name} queues for mmu_lock to map gfn ${hex(gfn)}, which was being invalidated all along`;
      world.fail(oracle, 'lock-for-nothing', { thread: thread.id, gfn }, message);
    },
    lockReleased(world, thread, lock) {
      const fault = thread.cpu?.mmu.fault;
      if (lock !== LockNumber.mmuLock || thread.mmuLockSite !== Site.kvm_tdp_page_fault) return;
      if (fault?.retryReason !== RetryReason.staleRange) return;
      if (!inWindow(world.vm, fault.gfn)) refuse(world, thread, fault.gfn);
    },
    pageFaultDone(world, thread, gfn, result) {
      doomed[thread.id] = -1;
      const fault = thread.cpu?.mmu.fault;
      if (result !== RetPf.retry || fault?.retryReason !== RetryReason.unlockedInvalidate) return;
      // An invalidation that ended moved the sequence, and then the fault had reason enough.
      if (sequence(world.vm) !== fault.mmuSeq || !open(world.vm)) return;
      // Without mmu_lock the hull may be read while it is written: now and then, but not again and again.
      if (inWindow(world.vm, gfn)) refused[thread.id] = 0;
      else if ((refused[thread.id] = (refused[thread.id] ?? 0) + 1) > UNLOCKED_ERRORS) refuse(world, thread, gfn);
    },
  };
  return oracle;
}

const sequence = ({ kvm }: Vm): number => kvm.memory.load32(own(kvm.word(KvmWord.invalidateSeq)));
const open = ({ kvm }: Vm): boolean => kvm.memory.load32(own(kvm.word(KvmWord.invalidateInProgress))) !== 0;

/** Whether `gfn` lies in the hull of the open invalidations. */
function inWindow({ kvm }: Vm, gfn: number): boolean {
  const at = (index: number): number => {
    const { lo, hi } = kvm.memory.load64(own(kvm.word(index)));
    return hi * 2 ** 32 + (lo >>> 0);
  };
  return gfn >= at(KvmWord.invalidateStart) && gfn < at(KvmWord.invalidateEnd);
}
