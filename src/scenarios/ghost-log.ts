/**
 * What user space has copied of a VM that logs dirty pages: all of it when the log begins, and then what the log reports. The
 * ghost of a migration: a page whose contents changed since and that no later log will report is lost.
 */
import { own } from '../machine/point.ts';
import { asGfn, type Gfn } from '../mmu/level.ts';
import { type Memslot, slotEnd, slotLogsDirty } from '../mmu/memslot.ts';
import type { SentPage } from '../oracles/quiescent-state.ts';
import type { Operation } from '../script/vocabulary.ts';
import { asTable, isPresent, isTable } from '../vm/host-pte.ts';
import type { Vm } from '../vm/vm.ts';
import type { ScenarioMachine } from './scenario-machine.ts';

const key = (slot: Memslot, gfn: number): number => (slot.asId * 64 + slot.id) * 2 ** 40 + gfn;

export class GhostLog {
  #sent = new Map<number, SentPage>();
  #saved = new Map<number, SentPage>();

  save(): void {
    this.#saved = new Map(this.#sent);
  }

  restore(): void {
    if (this.#sent.size === 0 && this.#saved.size === 0) return;
    this.#sent = new Map(this.#saved);
  }

  /** What was copied of a page, as the oracles ask for it. */
  sent(slot: Memslot, gfn: Gfn): SentPage | undefined {
    return this.#sent.get(key(slot, gfn));
  }

  /** Called when `operation` is over, which said `result`. */
  after({ vm }: ScenarioMachine, operation: Operation, result: string): void {
    switch (operation.op) {
      case 'slot':
      case 'setflags':
      case 'getlog':
      case 'clearlog':
        break;
      default:
        return;
    }
    const { id, as } = operation.values;
    const slot = activeSlots(vm, as).find((s) => s.id === id);
    if (slot === undefined || !slotLogsDirty(slot)) return;
    const { manualProtect } = vm.kvm.params;
    if (operation.op === 'getlog') {
      // With manual protection the log stays as it is until CLEAR: copied now, the page would have to be copied again.
      if (!manualProtect) for (const [first, count] of ranges(result)) this.#copy(vm, slot, first, first + count);
    } else if (operation.op === 'clearlog') {
      const { first, n, every } = operation.values;
      for (let i = 0; i < n; i += every) this.#copy(vm, slot, slot.baseGfn + first + i, slot.baseGfn + first + i + 1);
    } else {
      this.#copy(vm, slot, slot.baseGfn, slotEnd(slot));
    }
  }

  #copy(vm: Vm, slot: Memslot, first: number, end: number): void {
    for (let gfn = first; gfn < Math.min(end, slotEnd(slot)); gfn++) {
      const page = copyOf(vm, slot, asGfn(gfn));
      if (page === null) this.#sent.delete(key(slot, gfn));
      else this.#sent.set(key(slot, gfn), page);
    }
  }
}

function activeSlots(vm: Vm, asId: number): readonly Memslot[] {
  const sets = vm.slots.sets[asId];
  return sets.decode(vm.memory.load32(own(sets.active)));
}

/** The `gfn+count;` of a log's report. */
function ranges(result: string): readonly (readonly [number, number])[] {
  return [...result.matchAll(/(0x[0-9a-f]+)\+(\d+);/g)].map(([, first, count]) => [Number(first), Number(count)] as const);
}

/** The frame behind a page and its version, or null where the host has none. */
function copyOf(vm: Vm, slot: Memslot, gfn: Gfn): SentPage | null {
  const { space, memory } = vm;
  const region = space.regions[slot.region];
  const page = slot.regionPage + (gfn - slot.baseGfn);
  const word = memory.load32(own(region.directoryWord(region.entryOf(page))));
  const pte = isTable(word) ? memory.load32(own((asTable(word) + (page & region.mask)) as never)) : word;
  if (!isPresent(pte)) return null;
  const pfn = space.pfn(region, page, pte);
  return { pfn, version: memory.load32(own(space.frames.contentWord(pfn))) };
}
