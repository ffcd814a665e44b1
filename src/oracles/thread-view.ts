/** A thread as step oracles see it: what it holds, and what it is at. */
import { Held } from '../machine/thread.ts';
import type { Level } from '../mmu/level.ts';
import type { TracedOperation } from '../mmu/trace.ts';

export class ThreadView {
  readonly id: number;
  readonly name: string;
  /** The vCPU that it runs, or -1. */
  readonly vcpu: number;
  /** How it holds each lock, by lock number. */
  readonly held = new Uint8Array(16);
  inRcu = false;
  /** The operation that it announced last. */
  operation: TracedOperation | '' = '';
  /** Lowest level of the write protection that it announced last. */
  protectLevel: Level = 0;

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
  }
}
