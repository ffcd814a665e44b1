/**
 * Oracle: nobody holds or awaits a lock, no read-side section and no invalidation is open, and requests wait only for vCPUs
 * that are outside the guest.
 */
import { LOCK_NUMBERS, LockNumber, lockName } from '../machine/lock-number.ts';
import type { Address } from '../machine/point.ts';
import { SPINLOCK_WORDS } from '../machine/spinlock.ts';
import { Held, ThreadWord } from '../machine/thread.ts';
import { Request, VcpuMode } from '../machine/tlb-shootdown.ts';
import { KvmWord } from '../mmu/kvm.ts';
import type { Findings, StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';

export const locksOracle: StateOracle = {
  name: 'locks',
  help: 'no lock is held or awaited, no RCU or SRCU section and no invalidation is open',
  check(state, found) {
    checkLocks(state, found);
    checkThreads(state, found);
    checkCounts(state, found);
    checkVcpus(state, found);
  },
};

function checkLocks(state: QuiescentState, found: Findings): void {
  const { layout, rcu, zapQueue, allocator, srcu } = state.kvm;
  const free = (lock: string, base: number, words: readonly number[] = [0]): void => {
    for (const offset of words) {
      const value = state.load((base + offset) as Address);
      if (value !== 0)
        found.report('lock-held', { lock, word: base + offset }, `${lock} is held or awaited: its word is ${value}`);
    }
  };
  // The count, the writer, the queue and the readers that wait; for a spinlock the tail, the holder and who waits.
  free(lockName(LockNumber.mmuLock), layout.mmuLock, [0, 1, 2, 4]);
  free(lockName(LockNumber.pagesLock), layout.pagesLock);
  free(lockName(LockNumber.invalidateLock), layout.invalidateLock);
  free(lockName(LockNumber.slotsLock), layout.slotsLock, [0, 1]);
  free(lockName(LockNumber.slotsArchLock), layout.slotsArchLock, [0, 1]);
  free(lockName(LockNumber.allocator), allocator.lock.base);
  free(lockName(LockNumber.workqueue), zapQueue.lock.base);
  free('the lock of SRCU grace periods', srcu.gracePeriods);
  free(lockName(LockNumber.hostMmap), state.space.mmapLock.base, [0, 1]);
  free('the heap lock', state.space.heap.lock.base);
  for (let i = 0; i < state.vm.config.hostPageTableLocks; i++) {
    free(lockName(LockNumber.hostPageTable), state.vm.layout.hostTableLocks + SPINLOCK_WORDS * i);
  }
  const processing = state.load(rcu.processing);
  if (processing !== 0) found.report('rcu-processing', {}, `${processing} threads are freeing pages after a grace period`);
}

function checkThreads(state: QuiescentState, found: Findings): void {
  const { kvm } = state;
  for (let thread = 0; thread < kvm.config.threads; thread++) {
    const block = kvm.layout.threadBlock(thread);
    const held = state.load((block + ThreadWord.held) as Address);
    for (let lock = 0; lock < LOCK_NUMBERS; lock++) {
      const how = (held >>> (2 * lock)) & 3;
      if (how === Held.no) continue;
      const mode = how === Held.read ? 'for read' : 'for write';
      found.report('lock-held', { thread, lock: lockName(lock) }, `thread ${thread} holds ${lockName(lock)} ${mode}`);
    }
    if ((state.load(kvm.rcu.readerWord(thread)) & 1) !== 0) {
      found.report('rcu-reader', { thread }, `thread ${thread} is in an RCU read-side section`);
    }
    for (const index of [0, 1]) {
      const sections = state.load(kvm.srcu.counterWord(thread, index));
      if (sections !== 0) found.report('srcu-reader', { thread }, `thread ${thread} is in ${sections} SRCU sections`);
    }
  }
}

function checkCounts(state: QuiescentState, found: Findings): void {
  const { kvm } = state;
  const open = state.load(kvm.word(KvmWord.invalidateInProgress));
  if (open !== 0) found.report('invalidate-open', {}, `mmu_invalidate_in_progress is ${open}`);
  const active = state.load(kvm.word(KvmWord.mnActive));
  if (active !== 0) found.report('invalidate-open', {}, `mn_active_invalidate_count is ${active}`);
  const queued = state.load(kvm.zapQueue.queued);
  const completed = state.load(kvm.zapQueue.completed);
  if (queued !== completed) found.report('work-left', {}, `${queued - completed} items are left in the work queue`);
}

/** What a vCPU must serve before it runs the guest again. */
const URGENT = (1 << Request.tlbFlush) | (1 << Request.freeObsoleteRoots) | (1 << Request.vmDead);

function checkVcpus(state: QuiescentState, found: Findings): void {
  for (let vcpu = 0; vcpu < state.areas.length; vcpu++) {
    const mode = state.mode(vcpu);
    const requests = state.requests(vcpu) & URGENT;
    if (mode === VcpuMode.readingShadowPageTables) {
      found.report('vcpu-mode', { vcpu }, `vCPU ${vcpu} walks page tables without a lock`);
    } else if (mode === VcpuMode.inGuest && requests !== 0) {
      found.report(
        'request-missed',
        { vcpu },
        `vCPU ${vcpu} is in the guest with requests ${requests} that nobody kicked it for`,
      );
    }
  }
}
