/**
 * Names of the words that tasks of a plan wait for, and which of them put their waiters to sleep.
 *
 * Spinning locks report by probe for which lock a task waits (`lock-blame.ts`); what is left are the sleeping locks, the work
 * queue, the control block, and the short waits for a vCPU, a grace period or a frozen SPTE.
 */
import { lockClasses } from '../../machine/lock-number.ts';
import type { Address } from '../../machine/point.ts';
import type { PlanLayout } from '../plan.ts';
import type { WordLabel } from './labels.ts';

/** Waiting for the next round, or for others to end theirs: time in which a task has nothing to do. */
export const IDLE_LABEL = 'control block';

/** Regions of the arena by what their waiters are called. Locks that sleep bear their own names. */
const REGIONS: Readonly<Record<string, { name: string; sleeps: boolean }>> = {
  'control block': { name: IDLE_LABEL, sleeps: true },
  tdp_mmu_zap_wq: { name: 'tdp_mmu_zap_wq', sleeps: true },
  rcu: { name: 'RCU grace period', sleeps: true },
  'vcpu requests': { name: 'vCPU leaving the guest', sleeps: false },
  threads: { name: 'RCU and SRCU readers', sleeps: false },
  'active memslots': { name: 'memslots', sleeps: false },
  'page tables': { name: 'frozen SPTE', sleeps: false },
};

export function planLabels({ vm }: PlanLayout): WordLabel[] {
  const sleeping = new Set(lockClasses.filter(({ sleeps }) => sleeps).map(({ name }) => name));
  return vm.arena.regions.flatMap(({ name, base, words }): WordLabel[] => {
    if (sleeping.has(name)) return [{ name, base: base as Address, words, sleeps: true }];
    const known = REGIONS[name];
    return known === undefined ? [] : [{ name: known.name, base: base as Address, words, sleeps: known.sleeps }];
  });
}
