/**
 * Step oracle: mmu_invalidate_in_progress counts the windows that are open. It changes by one at a time, under mmu_lock held for
 * write; whoever opened a window closes it; and the sequence number moves whenever one closes, before the count tells of it, or a
 * fault that looked its page up during the window would not notice.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { own, StepKind } from '../../machine/point.ts';
import { Held } from '../../machine/thread.ts';
import { KvmWord } from '../../mmu/kvm.ts';
import type { StepOracle } from '../step-oracle.ts';

export function invalidationWindowsOracle(): StepOracle {
  /** The count and the sequence as they stand, and as they were at the start. */
  let count = 0;
  let sequence = 0;
  let first = { count: 0, sequence: 0 };
  /** Windows that each thread has open, and the sequence when it opened its first. */
  const open: number[] = [];
  const openedAt: number[] = [];
  return {
    name: 'invalidation-windows',
    help: 'mmu_invalidate_in_progress is the number of open windows, and the sequence moves when one closes',
    prepare(world) {
      const { kvm, memory } = world;
      const words = [kvm.word(KvmWord.invalidateInProgress), kvm.word(KvmWord.invalidateSeq)];
      for (const word of words) world.watch(word);
      const [inProgress, seq] = words.map((word) => memory.load32(own(word)));
      first = { count: inProgress, sequence: seq };
    },
    start() {
      ({ count, sequence } = first);
      open.length = 0;
    },
    access(world, thread, kind, a) {
      if (kind === StepKind.Read) return;
      const { kvm, memory } = world;
      if (a === kvm.word(KvmWord.invalidateSeq)) sequence = memory.load32(own(a));
      if (a !== kvm.word(KvmWord.invalidateInProgress)) return;
      const now = memory.load32(own(a));
      const change = now - count;
      const before = count;
      count = now;
      const where = { thread: thread.id, word: a };
      // A store that leaves its buffer late was issued under the lock, if it was.
      if (!world.drained && thread.held[LockNumber.mmuLock] !== Held.write) {
        world.fail(this, 'window-without-lock', where, `${thread.name} opens or ends an invalidation without mmu_lock for write`);
      }
      const mine = (open[thread.id] ?? 0) + change;
      if (Math.abs(change) !== 1 || mine < 0) {
        const message = `${thread.name} sets mmu_invalidate_in_progress from ${before} to ${now}, and has ${open[thread.id] ?? 0} windows open`;
        world.fail(this, 'window-miscounted', where, message);
      }
      open[thread.id] = mine;
      if (change > 0 && mine === 1) openedAt[thread.id] = sequence;
      if (change < 0 && sequence === openedAt[thread.id]) {
        const message = `${thread.name} ends an invalidation, and mmu_invalidate_seq is still ${sequence}`;
        world.fail(this, 'sequence-not-moved', where, message);
      }
    },
    end(world) {
      if (count === first.count) return;
      const message = `all threads have ended, and mmu_invalidate_in_progress is ${count}`;
      world.fail(this, 'window-left-open', {}, message);
    },
  };
}
