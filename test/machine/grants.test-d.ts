/**
 * What must not compile: `npm run typecheck` fails where one of these lines is accepted after all.
 */
import type { Memory } from '../../src/machine/memory.ts';
import { type Address, read, rmw, type Task } from '../../src/machine/point.ts';
import { rcuReadLock } from '../../src/machine/rcu.ts';
import type { Kvm } from '../../src/mmu/kvm.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { kvmTdpMmuGetRoot } from '../../src/mmu/roots.ts';
import { readSpte } from '../../src/mmu/write-spte.ts';

export function* accessesNeedGrants(memory: Memory, a: Address): Task<number> {
  // @ts-expect-error an address that was not granted cannot be loaded
  memory.load32(a);
  // @ts-expect-error nor exchanged
  memory.cmpxchg32(a, 0, 1);
  // @ts-expect-error announcing is not being granted
  memory.load32(read(a));
  // @ts-expect-error nor is a plain number an address
  memory.load32(7);
  memory.xchg32(yield rmw(a), 1);
  return memory.load32(yield read(a));
}

export function* tasksMustBeAwaited(kvm: Kvm, a: Address): Task<void> {
  // @ts-expect-error a forgotten `yield*` leaves a task, which is no number
  const sum: number = accessesNeedGrants(kvm.memory, a) + 1;
  // @ts-expect-error nor an SPTE
  kvm.spte.isFrozen(readSpte(kvm, a));
  // @ts-expect-error nor a boolean that a comparison could be true of
  if (kvmTdpMmuGetRoot(kvm, sum) === true) return;
  // @ts-expect-error a step is not a task
  yield* read(a);
  // @ts-expect-error numbers of different meaning do not mix
  kvm.geometry.round(sum, 1);
  kvm.geometry.round(asGfn(sum), 1);
  yield* rcuReadLock(kvm.rcu, kvm.thread);
}
