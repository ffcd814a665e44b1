/**
 * Recovering huge pages that were split for nx_huge_pages (kernel: kvm_recover_nx_huge_pages in mmu.c; under the write lock
 * until 6.17).
 */
import { Cost } from '../machine/cost.ts';
import { invariant } from '../machine/invariant.ts';
import { read, spend, type Task } from '../machine/point.ts';
import { rcuReadLock, rcuReadUnlock } from '../machine/rcu.ts';
import { spinLock, spinUnlock } from '../machine/spinlock.ts';
import { srcuReadLock, srcuReadUnlock } from '../machine/srcu.ts';
import { MmuCounter } from './counters.ts';
import { kvmFlushRemoteTlbs } from './flush.ts';
import { type Kvm, KvmWord } from './kvm.ts';
import { slotLogsDirty } from './memslot.ts';
import { mmuLockIsContended, mmuWriteLock, mmuWriteUnlock } from './mmu-lock.ts';
import { roleAsId } from './mmu-page.ts';
import { clearNxHugePageDisallowed, nxHugePageDisallowed } from './nx-huge-pages.ts';
import { Site } from './site.ts';
import { VmStat } from './vm-stat.ts';
import { kvmTdpMmuZapSp } from './zap-root.ts';

/** One period of the recovery thread: zaps 1/ratio of the tables that nx_huge_pages made, oldest first. */
export function* kvmRecoverNxHugePages(kvm: Kvm): Task<number> {
  if (kvm.backend !== null) return yield* kvm.backend.recoverNxHugePages(kvm);
  const srcu = yield* srcuReadLock(kvm.srcu, kvm.thread);
  yield* mmuWriteLock(kvm, Site.kvm_recover_nx_huge_pages);
  // The tables are freed by RCU, and the flush must come before that: one section over all of it.
  yield* rcuReadLock(kvm.rcu, kvm.thread);
  const ratio = kvm.params.get('nxHugePagesRecoveryRatio');
  const splits = kvm.memory.load32(yield read(kvm.word(KvmWord.stats + 2 * VmStat.nxLpageSplits)));
  let flush = false;
  let recovered = 0;
  for (let left = ratio > 0 ? Math.ceil(splits / ratio) : 0; left > 0; left--) {
    const page = kvm.memory.load32(yield read(kvm.word(KvmWord.nxPages)));
    if (page === 0) break;
    const owed = yield* recoverOne(kvm, page);
    if (kvm.bugs['nx-recovery-yield-loses-flush'] !== true) flush ||= owed;
    recovered++;
    kvm.counters[MmuCounter.nx_recovered]++;
    if (!kvm.thread.needResched() && !(yield* mmuLockIsContended(kvm))) continue;
    if (flush) yield* kvmFlushRemoteTlbs(kvm);
    flush = false;
    yield* rcuReadUnlock(kvm.rcu, kvm.thread);
    kvm.trace?.yielded('write');
    yield* mmuWriteUnlock(kvm);
    yield spend(Cost.reschedule);
    yield* mmuWriteLock(kvm, Site.kvm_recover_nx_huge_pages);
    yield* rcuReadLock(kvm.rcu, kvm.thread);
  }
  if (flush) yield* kvmFlushRemoteTlbs(kvm);
  yield* rcuReadUnlock(kvm.rcu, kvm.thread);
  yield* mmuWriteUnlock(kvm);
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, srcu);
  return recovered;
}

/** Zaps one table, or just forgets it where its slot logs: it would only be split again. Returns whether a flush is owed. */
function* recoverOne(kvm: Kvm, page: number): Task<boolean> {
  const asId = kvm.bugs['nx-recovery-wrong-address-space'] === true ? 0 : roleAsId(kvm.pages.role(page));
  const slot = yield* kvm.slots.find(kvm, asId, kvm.pages.gfn(page));
  let flush = false;
  if (slot !== null && slotLogsDirty(slot) && kvm.bugs['nx-recovery-zaps-dirty-tracked'] !== true) {
    yield* spinLock(kvm.pagesLock, kvm.thread, Site.kvm_recover_nx_huge_pages);
    yield* clearNxHugePageDisallowed(kvm, page);
    yield* spinUnlock(kvm.pagesLock, kvm.thread);
  } else {
    flush = yield* kvmTdpMmuZapSp(kvm, page);
  }
  invariant(!(yield* nxHugePageDisallowed(kvm, page)), 'nx-recovery-stuck', `table ${page} is still tracked after its recovery`);
  return flush;
}
