/** A thread as step oracles see it: what it holds, and what it is at. */
import { LOCK_NUMBERS } from '../machine/lock-number.ts';
import { Held } from '../machine/thread.ts';
import type { Level } from '../mmu/level.ts';
import type { TracedOperation } from '../mmu/trace.ts';
import type { Vcpu } from '../vm/vcpu.ts';
import type { Vm } from '../vm/vm.ts';

export class ThreadView {
  readonly id: number;
  readonly name: string;
  /** The number of the vCPU that it runs, or -1. */
  readonly vcpu: number;
  /** Its handle on the VM. */
  vm!: Vm;
  /** The vCPU that it runs, or null. */
  cpu: Vcpu | null = null;
  /** How it holds each lock, by lock number. */
  readonly held = new Uint8Array(LOCK_NUMBERS);
  inRcu = false;
  /** The operation that it announced last, flushes aside. */
  operation: TracedOperation | '' = '';
  /** Lowest level of the write protection that it announced last. */
  protectLevel: Level = 0;
  /** Site at which it took mmu_lock, -1 while it does not hold it. */
  mmuLockSite = -1;

  constructor(id: number, name: string, vcpu: number) {
    this.id = id;
    this.name = name;
    this.vcpu = vcpu;
  }

  reset(): void {
    this.held.fill(Held.no);
    this.inRcu = false;
    this.operation = '';
    this.protectLevel = 0;
    this.mmuLockSite = -1;
  }
}
