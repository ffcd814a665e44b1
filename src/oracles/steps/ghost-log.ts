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

/** The slots that log, decoded at each publication. */
class LoggingSlots {
  slots: readonly Memslot[] = [];
  /** Slots whose log is on for the VMM, too: the ioctl that began it has returned. */
  readonly known = new Set<string>();
  #first: readonly Memslot[] = [];

  /** Reads the slots of the first state. */
  prepare(world: StepWorld): void {
    this.refresh(world);
    this.#first = this.slots;
  }

  /** Other slots were published. */
  refresh(world: StepWorld): void {
    const all = world.vm.slots.sets.flatMap((_, asId) => world.slots(asId));
    this.slots = all.filter((slot) => slotLogsDirty(slot) && slot.dirtyBitmap !== 0);
    for (const slot of this.slots) world.watch(slot.dirtyBitmap as Address, slot.bitmapWords);
    const keys = new Set(this.slots.map(keyOf));
    for (const key of this.known) if (!keys.has(key)) this.known.delete(key);
  }

  start(): void {
    this.slots = this.#first;
    this.known.clear();
    for (const slot of this.slots) this.known.add(keyOf(slot));
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
    prepare(world) {
      for (const sets of world.vm.slots.sets) world.watch(sets.active);
      logging.prepare(world);
    },
    start(world) {
      logging.start();
      pages.clear();
      taken.clear();
      shadow.clear();
      noteBitmaps(world);
    },
    guest(world, { vcpu, gfn, write }) {
      if (!write) return;
      const slot = logging.slots.find((s) => slotContains(s, gfn));
      if (slot !== undefined && logging.known.has(keyOf(slot))) {
        pages.set(pageKey(slot, gfn), { slot, gfn, writtenAt: world.clock, vcpu });
      }
    },
    access(world, thread, kind, a) {
      if (kind === StepKind.Read) return;
      if (world.vm.slots.sets.some((sets) => sets.active === a)) {
        logging.refresh(world);
        noteBitmaps(world);
        return;
      }
      for (const slot of logging.slots) {
        const offset = a - slot.dirtyBitmap;
        if (offset < 0 || offset >= slot.bitmapWords) continue;
        // Harvests exchange 64 bits at a time; marks set one.
        for (const word of [offset & ~1, (offset & ~1) + 1]) noteTaken(world, slot, word, thread.id);
      }
    },
    lockReleased(_world, thread, lock) {
      if (lock !== LockNumber.slotsLock) return;
      for (const key of taken.get(thread.id) ?? []) pages.delete(key);
      taken.delete(thread.id);
      for (const slot of logging.slots) {
        if (logging.known.has(keyOf(slot))) continue;
        // The VMM copies all of a slot whose log begins: what was written while it logged before is copied, too.
        logging.known.add(keyOf(slot));
        for (const [key, page] of pages) if (page.slot.asId === slot.asId && page.slot.id === slot.id) pages.delete(key);
      }
    },
    end(world) {
      if (pages.size === 0) return;
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
  function noteBitmaps(world: StepWorld): void {
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
