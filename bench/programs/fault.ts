/**
 * A vCPU that writes each page of its share of the memory once, so that each access is a demand fault: it misses the TLB, walks,
 * leaves the guest, maps 4K under mmu_lock held for read, enters again, walks and sets the dirty bit.
 *
 * Options: pages (of one vCPU), warmup (pages that are not timed). Phases: its time, and that of all processors in the process.
 */
import type { EngineContext } from '../../src/engines/plan.ts';
import { asGfn } from '../../src/mmu/level.ts';
import { guestAccess } from '../../src/vm/guest.ts';
import { AccessKind } from '../../src/vm/page-walker.ts';
import { GuestResult, Vcpu } from '../../src/vm/vcpu.ts';
import { VcpuArea } from '../../src/vm/vcpu-layout.ts';
import { done } from './erased.ts';

export function fault({ vm, thread, plan, phase }: EngineContext): void {
  const area = new VcpuArea(vm.vcpuArea(thread.index), vm.config);
  const vcpu = new Vcpu({ kvm: vm.kvm, id: thread.index, area, contentWord: vm.contentWord });
  const pages = Number(plan.options.pages);
  const warmup = Number(plan.options.warmup);
  const first = thread.index * pages;
  let began = 0;
  let before = process.cpuUsage();
  for (let page = 0; page < pages; page++) {
    if (page === warmup) {
      began = vm.thread.now();
      before = process.cpuUsage();
    }
    const result = done(guestAccess(vcpu, asGfn(first + page), AccessKind.write));
    if (result !== GuestResult.done) throw new Error(`access to page ${page} ended with ${result}`);
  }
  phase('faults', vm.thread.now() - began);
  const { user, system } = process.cpuUsage(before);
  phase('processor', (user + system) * 1000);
}
