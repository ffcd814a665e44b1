/**
 * Page-modification logging (Intel SDM volume 3, "Page-Modification Logging"; kernel: vmx_flush_pml_buffer in
 * arch/x86/kvm/vmx/vmx.c): while it is on, the processor writes down each gfn whose dirty bit it sets, and leaves the guest
 * before it would set one with a full log. KVM empties the log into the dirty bitmap at every exit.
 *
 * Only the vCPU touches its log. Pages come in the order in which they were written first; hardware fills the log from the
 * end, which nobody can tell.
 */
import type { Memory } from '../machine/memory.ts';
import { type Address, own, type Task } from '../machine/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../machine/srcu.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, type Gfn } from '../mmu/level.ts';
import { markPageDirtyInSlot } from '../mmu/mark-dirty.ts';
import { PML_ENTRY_WORDS, type VcpuArea, VcpuWord } from './vcpu-layout.ts';

const TWO_32 = 2 ** 32;

export class PmlBuffer {
  readonly memory: Memory;
  readonly base: Address;
  readonly capacity: number;
  readonly #count: Address;

  constructor(memory: Memory, area: VcpuArea) {
    this.memory = memory;
    this.base = area.pml;
    this.capacity = area.config.pmlEntries;
    this.#count = area.word(VcpuWord.pmlCount);
  }

  get count(): number {
    return this.memory.load32(own(this.#count));
  }

  get full(): boolean {
    return this.count >= this.capacity;
  }

  /** Writes `gfn` down. The log is not full. */
  log(gfn: Gfn): void {
    const { memory, count } = this;
    const entry = (this.base + count * PML_ENTRY_WORDS) as Address;
    memory.store32(own(entry), gfn | 0);
    memory.store32(own((entry + 1) as Address), Math.floor(gfn / TWO_32));
    memory.store32(own(this.#count), count + 1);
  }

  /** The gfn logged as number `index`. */
  at(index: number): Gfn {
    return loggedGfn(this.memory, this.base, index);
  }

  clear(): void {
    this.memory.store32(own(this.#count), 0);
  }
}

function loggedGfn(memory: Memory, base: Address, index: number): Gfn {
  const entry = (base + index * PML_ENTRY_WORDS) as Address;
  return asGfn(memory.load32(own((entry + 1) as Address)) * TWO_32 + (memory.load32(own(entry)) >>> 0));
}

/** What the log in `area` holds. For oracles, while the vCPU does not run. */
export function pmlGfns(memory: Memory, area: VcpuArea): Gfn[] {
  const count = memory.load32(own(area.word(VcpuWord.pmlCount)));
  return Array.from({ length: count }, (_, i) => loggedGfn(memory, area.pml, i));
}

/** Empties the log into the dirty bitmaps of the slots. The vCPU is outside the guest. */
export function* flushPmlBuffer(kvm: Kvm, pml: PmlBuffer, asId: number): Task<void> {
  const { count } = pml;
  if (count === 0) return;
  const index = yield* srcuReadLock(kvm.srcu, kvm.thread);
  for (let i = 0; i < count; i++) {
    const gfn = pml.at(i);
    const slot = yield* kvm.slots.find(kvm, asId, gfn);
    if (slot !== null) yield* markPageDirtyInSlot(kvm, slot, gfn);
  }
  pml.clear();
  yield* srcuReadUnlock(kvm.srcu, kvm.thread, index);
}
