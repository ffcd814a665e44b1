/**
 * Step oracle: every guest write is reported by a dirty-log read, or still going to be.
 *
 * A ghost log notes each write of the guest to a slot that logs. A bit that GET or CLEAR takes from the bitmap reports all
 * writes up to the return of that ioctl (the release of slots_lock), because the VMM copies the page after that; and all writes
 * until enabling the log returned are in the VMM's first copy. What is left at the end must be visible: a bit, or an entry of
 * a page-modification log.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { type Address, own, StepKind } from '../../machine/point.ts';
import { asGfn, type Gfn } from '../../mmu/level.ts';
import { type Memslot, slotContains, slotLogsDirty } from '../../mmu/memslot.ts';
import { loggedByPml } from '../dirty-log.ts';
import { hex } from '../oracle.ts';
import { QuiescentState } from '../quiescent-state.ts';
import type { StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';

interface GhostPage {
  readonly slot: Memslot;
  readonly gfn: Gfn;
  writtenAt: number;
  readonly vcpu: number;
}

/** The slots that log, decoded once for each publication. */
class LoggingSlots {
  #active = -1;
  slots: readonly Memslot[] = [];
  /** Slots whose log is on for the VMM, too: the ioctl that began it has returned. */
  readonly known = new Set<string>();

  /** Looks at the slots; returns whether they are others than before. */
  refresh(world: StepWorld): boolean {
    const active = world.vm.slots.sets.reduce((sum, sets) => sum * 65536 + world.memory.load32(own(sets.active)), 0);
    if (active === this.#active) return false;
    this.#active = active;
    const all = world.vm.slots.sets.flatMap((sets) => [...sets.decode(world.memory.load32(own(sets.active)))]);
    this.slots = all.filter((slot) => slotLogsDirty(slot) && slot.dirtyBitmap !== 0);
    const keys = new Set(this.slots.map(keyOf));
    for (const key of this.known) if (!keys.has(key)) this.known.delete(key);
    return true;
  }

  reset(): void {
    this.#active = -1;
    this.known.clear();
  }
}

const keyOf = (slot: Memslot): string => `${slot.asId}/${slot.id}/${slot.dirtyBitmap}`;

export function ghostLogOracle(): StepOracle {
  const logging = new LoggingSlots();
  const pages = new Map<string, GhostPage>();
  /** For each thread the pages whose bits it took since it has slots_lock. */
  const taken = new Map<number, Set<string>>();
  const shadow = new Map<number, number>();
  const pageKey = (slot: Memslot, gfn: number): string => `${slot.asId}/${gfn}`;

  return {
    name: 'ghost-log',
    help: 'every guest write since the log was enabled is reported by some GET or CLEAR, or still visible',
    start(world) {
      logging.reset();
      pages.clear();
      taken.clear();
      shadow.clear();
      refresh(world);
      for (const slot of logging.slots) logging.known.add(keyOf(slot));
    },
    guest(world, { vcpu, gfn, write }) {
      if (!write) return;
      refresh(world);
      const slot = logging.slots.find((s) => slotContains(s, gfn));
      if (slot !== undefined && logging.known.has(keyOf(slot))) {
        pages.set(pageKey(slot, gfn), { slot, gfn, writtenAt: world.clock, vcpu });
      }
    },
    access(world, thread, kind, a) {
      if (kind === StepKind.Read) return;
      refresh(world);
      for (const slot of logging.slots) {
        const offset = a - slot.dirtyBitmap;
        if (offset < 0 || offset >= slot.bitmapWords) continue;
        // Harvests exchange 64 bits at a time; marks set one.
        for (const word of [offset & ~1, (offset & ~1) + 1]) noteTaken(world, slot, word, thread.id);
      }
    },
    lockReleased(world, thread, lock) {
      if (lock !== LockNumber.slotsLock) return;
      refresh(world);
      for (const key of taken.get(thread.id) ?? []) pages.delete(key);
      taken.delete(thread.id);
      for (const slot of logging.slots) logging.known.add(keyOf(slot));
    },
    end(world) {
      refresh(world);
      const state = new QuiescentState(world.vm);
      for (const { slot, gfn, writtenAt, vcpu } of pages.values()) {
        const now = logging.slots.find((s) => keyOf(s) === keyOf(slot));
        if (now === undefined || state.isLogged(now, gfn) || loggedByPml(state, gfn)) continue;
        const message = `vCPU ${vcpu} wrote gfn ${hex(gfn)} at step ${writtenAt}; no dirty-log read has reported it, and none will`;
        world.fail(this, 'ghost-write', { gfn, slot: slot.id, vcpu }, message);
      }
    },
  };

  /** A log that is new is known as it stands: one that begins with all bits set was filled by its owner alone. */
  function refresh(world: StepWorld): void {
    if (!logging.refresh(world)) return;
    for (const { dirtyBitmap, bitmapWords } of logging.slots) {
      for (let a: number = dirtyBitmap; a < dirtyBitmap + bitmapWords; a++) {
        if (!shadow.has(a)) shadow.set(a, world.memory.load32(own(a as Address)));
      }
    }
  }

  function noteTaken(world: StepWorld, slot: Memslot, word: number, thread: number): void {
    const a = (slot.dirtyBitmap + word) as Address;
    const before = shadow.get(a) ?? 0;
    const now = world.memory.load32(own(a));
    shadow.set(a, now);
    for (let gone = before & ~now; gone !== 0; gone &= gone - 1) {
      const bit = 31 - Math.clz32(gone & -gone);
      const keys = taken.get(thread) ?? new Set();
      keys.add(pageKey(slot, asGfn(slot.baseGfn + 32 * word + bit)));
      taken.set(thread, keys);
    }
  }
}
