/**
 * Changes SPTEs by cmpxchg, each thread in a table of its own or all in one SPTE. Options: rounds, warmup, shared.
 */
import type { EngineContext } from '../../src/engines/plan.ts';
import { type Address, own } from '../../src/machine/point.ts';
import { Word64 } from '../../src/machine/word64.ts';

export function exchange({ vm, plan, thread, phase }: EngineContext): void {
  const { memory, kvm } = vm;
  const shared = plan.options.shared === true;
  const table = kvm.allocator.tableOf(shared ? 1 : 1 + thread.index);
  const { entries } = kvm.allocator;
  const run = (rounds: number): number => {
    let lost = 0;
    for (let i = 0; i < rounds; i++) {
      const a = own((shared ? table : table + 2 * (i % entries)) as Address);
      const old = memory.load64(a);
      if (memory.cmpxchg64(a, old, new Word64(old.lo + 1, old.hi)) !== old) lost++;
    }
    return lost;
  };
  run(Number(plan.options.warmup));
  const began = vm.thread.now();
  const lost = run(Number(plan.options.rounds));
  phase('exchanging', vm.thread.now() - began);
  phase('lost', lost);
}
