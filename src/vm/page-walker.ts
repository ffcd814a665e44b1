/**
 * The page walker of a vCPU's processor: what the hardware does with the tables that KVM builds (Intel SDM volume 3, "The
 * Extended Page Table Mechanism"; AMD APM volume 2, "Nested Paging").
 *
 * A walk reads one entry a level from the root down, or starts at the last level where the paging-structure cache knows the
 * table. In the leaf it checks the rights and sets the accessed bit, and the dirty bit for a write, by a locked exchange
 * that fails if the entry has changed since it was read; then the walk begins again. What it finds goes into the TLB. To
 * the hardware, frozen entries and KVM's non-present values are all the same: not present.
 *
 * Left out: rights in upper levels, which KVM never restricts; the guest's own page tables; accessed bits of upper levels,
 * which KVM sets when it makes the entry.
 */
import { Cost } from '../machine/cost.ts';
import { InvariantError } from '../machine/invariant.ts';
import type { Memory } from '../machine/memory.ts';
import { type PageAllocator, PageState } from '../machine/page-allocator.ts';
import { type Address, read, rmw, spend, type Task } from '../machine/point.ts';
import { Word64 } from '../machine/word64.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { type Geometry, type Gfn, type Level, PG_LEVEL_4K } from '../mmu/level.ts';
import { PfErr } from '../mmu/page-fault-info.ts';
import { spteAdEnabled, sptePfn, tablePageLo } from '../mmu/spte.ts';
import type { PagingStructureCache } from './paging-structure-cache.ts';
import type { PmlBuffer } from './pml.ts';
import { type Tlb, TlbRight } from './tlb.ts';
import { VcpuCounter } from './vcpu-counters.ts';

/** Kinds of guest access. */
export const AccessKind = { read: 0, write: 1, exec: 2 } as const;
export type AccessKind = (typeof AccessKind)[keyof typeof AccessKind];

/** The walk gave a translation. Every fault has another number. */
export const WALKED = 0;
/** The walk stopped before it set a dirty bit, because the page-modification log is full: the vCPU must leave the guest. */
export const PML_FULL = -1;

/** Bits that hardware knows, in an entry's low half: P or R, W, and the huge bit. */
const READ = 1;
const W = 1 << 1;
const PS = 1 << 7;
/** NPT: bit 51, reserved on a processor with fewer physical address bits. In the high half. */
const NPT_RESERVED = 1 << 19;
const NPT_NX = 1 << 31;
const EPT_X = 1 << 2;
/** EPT: an entry with any of R, W, X is present; AMD has one bit for that. */
const EPT_PRESENT = 7;

export interface PageWalkerOptions {
  readonly kvm: Kvm;
  readonly tlb: Tlb;
  readonly pwc: PagingStructureCache;
  readonly pml: PmlBuffer;
}

export class PageWalker {
  readonly memory: Memory;
  readonly geometry: Geometry;
  readonly allocator: PageAllocator;
  readonly tlb: Tlb;
  readonly pwc: PagingStructureCache;
  readonly pml: PmlBuffer;
  readonly counters: Float64Array;
  readonly ept: boolean;
  readonly present: number;
  readonly accessed: number;
  readonly dirty: number;
  /** Low half of what freed tables are filled with. */
  readonly poison: number;
  /** The root page in use: 0 while none is. */
  root = 0;
  /** Whether dirty bits set are logged. */
  pmlEnabled = false;
  /** The TLB entry that the last successful walk made. */
  entry = 0 as Address;

  constructor(options: PageWalkerOptions) {
    const { kvm } = options;
    const { format } = kvm.spte;
    this.memory = kvm.memory;
    this.geometry = kvm.geometry;
    this.allocator = kvm.allocator;
    this.counters = kvm.counters;
    this.tlb = options.tlb;
    this.pwc = options.pwc;
    this.pml = options.pml;
    this.ept = format.name === 'ept';
    this.present = this.ept ? EPT_PRESENT : format.present.lo;
    this.accessed = format.accessed.lo;
    this.dirty = format.dirty.lo;
    this.poison = kvm.allocator.poison.lo;
  }

  /** Whether an entry's rights allow the access. */
  allows(leaf: Word64, kind: AccessKind): boolean {
    if (kind === AccessKind.exec) return this.ept ? (leaf.lo & EPT_X) !== 0 : (leaf.hi & NPT_NX) === 0;
    return (leaf.lo & (kind === AccessKind.write ? W : READ)) !== 0;
  }

  /** The rights that a leaf gives a TLB entry. Where the hardware keeps no dirty bit, writes have none to set. */
  rights(lo: number, hi: number, adEnabled: boolean): number {
    let rights: number = TlbRight.read;
    if ((lo & W) !== 0) rights |= TlbRight.write;
    if (this.ept ? (lo & EPT_X) !== 0 : (hi & NPT_NX) === 0) rights |= TlbRight.exec;
    if (!adEnabled || (lo & this.dirty) !== 0) rights |= TlbRight.dirty;
    return rights;
  }

  /**
   * The error code of a fault. AMD calls every nested access a user access; for EPT, KVM calls a read one.
   * Reserved: KVM hears of a misconfigured EPT entry as of a reserved bit; QEMU's NPT, whose recordings are the reference
   * here, leaves the present bit clear with it, and so does KVM's handler of the former.
   */
  fault(gfn: Gfn, kind: AccessKind, why: number): number {
    this.tlb.invalidate(gfn);
    this.pwc.invalidate(gfn);
    let code = why;
    if (kind === AccessKind.write) code |= PfErr.write;
    if (kind === AccessKind.exec) code |= PfErr.fetch;
    if (!this.ept) return code | PfErr.user;
    if (why === PfErr.reserved) return why;
    return kind === AccessKind.read ? code | PfErr.user : code;
  }

  /** Breaks the run where a walk begins in a table that is not in use: somebody forgot a flush, or a grace period. */
  checkInUse(gfn: Gfn, table: number): void {
    if (this.allocator.stateOf(this.memory, table) < PageState.live) throw walkOfFreedTable(gfn, table);
  }
}

function walkOfFreedTable(gfn: Gfn, table: number): InvariantError {
  return new InvariantError('walk-of-freed-table', `the walk for gfn 0x${gfn.toString(16)} reads page ${table}, a freed table`);
}

/**
 * Walks for an access to `gfn`. Returns {@link WALKED}, and the translation is `walker.entry`; or {@link PML_FULL}; or the
 * error code of a fault, bits of `PfErr`. The vCPU is in the guest. Errors: walk-of-freed-table.
 */
export function* walkPageTables(walker: PageWalker, gfn: Gfn, kind: AccessKind): Task<number> {
  const { memory, geometry, allocator, tlb, pwc, present, poison, root } = walker;
  walker.counters[VcpuCounter.walks]++;
  for (;;) {
    let level: Level = PG_LEVEL_4K;
    let table = pwc.find(gfn);
    if (table === 0) {
      table = root;
      level = geometry.rootLevel;
      yield spend(Cost.walkLevel, level);
    } else {
      yield spend(Cost.walkLevel);
    }
    walker.checkInUse(gfn, table);
    let sptep = (allocator.tableOf(table) + 2 * geometry.index(gfn, level)) as Address;
    while (level > PG_LEVEL_4K) {
      const lo = memory.load32(yield read(sptep));
      if (lo === poison) throw walkOfFreedTable(gfn, table);
      if ((lo & present) === 0) return walker.fault(gfn, kind, 0);
      if ((lo & PS) !== 0) break;
      table = tablePageLo(lo);
      level--;
      sptep = (allocator.tableOf(table) + 2 * geometry.index(gfn, level)) as Address;
      if (level === PG_LEVEL_4K) pwc.insert(gfn, table);
    }

    const leaf = memory.load64(yield read(sptep));
    if (leaf.lo === poison) throw walkOfFreedTable(gfn, table);
    if ((leaf.lo & present) === 0) return walker.fault(gfn, kind, 0);
    // A huge leaf was read twice: by now it may be a table.
    if (level > PG_LEVEL_4K && (leaf.lo & PS) === 0) continue;
    if (walker.ept ? (leaf.lo & (READ | W)) === W : (leaf.hi & NPT_RESERVED) !== 0)
      return walker.fault(gfn, kind, PfErr.reserved);
    if (!walker.allows(leaf, kind)) return walker.fault(gfn, kind, PfErr.present);

    let { lo } = leaf;
    const adEnabled = spteAdEnabled(leaf);
    if (adEnabled) {
      lo |= kind === AccessKind.write ? walker.accessed | walker.dirty : walker.accessed;
      if (lo !== leaf.lo) {
        const gainsDirty = ((lo ^ leaf.lo) & walker.dirty) !== 0;
        if (gainsDirty && walker.pmlEnabled && walker.pml.full) return PML_FULL;
        if (memory.cmpxchg64(yield rmw(sptep), leaf, new Word64(lo, leaf.hi)) !== leaf) {
          walker.counters[VcpuCounter.walk_restarts]++;
          continue;
        }
        walker.counters[VcpuCounter.ad_updates]++;
        if (gainsDirty && walker.pmlEnabled) walker.pml.log(gfn);
      }
    }
    walker.entry = tlb.insert(gfn, level, sptePfn(leaf), walker.rights(lo, leaf.hi, adEnabled));
    return WALKED;
  }
}
