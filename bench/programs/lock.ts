/**
 * Takes and releases a lock. Options: lock (mmu_lock read, mmu_lock write, spinlock, mutex, rcu), rounds, warmup.
 */
import type { EngineContext } from '../../src/engines/plan.ts';
import { mutexLock, mutexUnlock } from '../../src/machine/mutex.ts';
import { rcuReadLock, rcuReadUnlock } from '../../src/machine/rcu.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../src/machine/rwlock.ts';
import { spinLock, spinUnlock } from '../../src/machine/spinlock.ts';
import type { Kvm } from '../../src/mmu/kvm.ts';
import { Site } from '../../src/mmu/site.ts';
import { done } from './erased.ts';

const KINDS: Readonly<Record<string, (kvm: Kvm, rounds: number) => void>> = {
  'rwlock read': ({ mmuRwLock, thread }, rounds) => {
    for (let i = 0; i < rounds; i++) {
      done(readLock(mmuRwLock, thread, Site.user));
      done(readUnlock(mmuRwLock, thread));
    }
  },
  'rwlock write': ({ mmuRwLock, thread }, rounds) => {
    for (let i = 0; i < rounds; i++) {
      done(writeLock(mmuRwLock, thread, Site.user));
      done(writeUnlock(mmuRwLock, thread));
    }
  },
  spinlock: ({ pagesLock, thread }, rounds) => {
    for (let i = 0; i < rounds; i++) {
      done(spinLock(pagesLock, thread, Site.user));
      done(spinUnlock(pagesLock, thread));
    }
  },
  mutex: ({ slotsLock, thread }, rounds) => {
    for (let i = 0; i < rounds; i++) {
      done(mutexLock(slotsLock, thread, Site.user));
      done(mutexUnlock(slotsLock, thread));
    }
  },
  'RCU section': ({ rcu, thread }, rounds) => {
    for (let i = 0; i < rounds; i++) {
      done(rcuReadLock(rcu, thread));
      done(rcuReadUnlock(rcu, thread));
    }
  },
};

export const LOCK_KINDS = Object.keys(KINDS);

export function lock({ vm, plan, phase }: EngineContext): void {
  const kind = KINDS[String(plan.options.lock)];
  kind(vm.kvm, Number(plan.options.warmup));
  const began = vm.thread.now();
  kind(vm.kvm, Number(plan.options.rounds));
  phase('locking', vm.thread.now() - began);
}
