/**
 * Guest programs: what the guests of the kernel's selftests and of the recorded scripts do.
 *
 * A program is one run of a vCPU (KVM_RUN): it ends with an exit to user space, or earlier, where an access cannot take place;
 * accesses that user space emulates do not end it. Each returns `done`, or how the access that ended it did.
 */
import type { Task } from '../machine/point.ts';
import { asGfn, type Gfn } from '../mmu/level.ts';
import { guestAccess, guestIoExit } from './guest.ts';
import { AccessKind } from './page-walker.ts';
import type { Random } from './random.ts';
import { GuestResult, type Vcpu } from './vcpu.ts';

/** A row of pages. */
export interface PageRow {
  readonly first: Gfn;
  /** How many pages are accessed. */
  readonly count: number;
  /** Pages from one to the next: 1 accesses them all. */
  readonly stride: number;
}

/**
 * Accesses the pages of a row once each, ascending (`touch` of the recorded scripts; the guest of demand_paging_test).
 *
 * @example
 * yield* touchPages(vcpu, { first: asGfn(0x10000), count: 4, stride: 1 }, AccessKind.write);
 */
export function* touchPages(vcpu: Vcpu, row: PageRow, kind: AccessKind): Task<GuestResult> {
  const { first, count, stride } = row;
  for (let i = 0; i < count; i++) {
    const result = yield* guestAccess(vcpu, asGfn(first + i * stride), kind);
    if (result > GuestResult.mmio) return result;
  }
  return yield* guestIoExit(vcpu);
}

export interface RandomAccesses {
  readonly first: Gfn;
  /** Pages from `first` on among which the guest chooses. */
  readonly pages: number;
  /** Accesses made. */
  readonly count: number;
  /** Of 100 accesses so many write. */
  readonly writePercent: number;
  readonly random: Random;
}

/** Accesses pages at random, to read and to write (dirty_log_perf_test with -a). */
export function* accessAtRandom(vcpu: Vcpu, options: RandomAccesses): Task<GuestResult> {
  const { first, pages, count, writePercent, random } = options;
  for (let i = 0; i < count; i++) {
    const gfn = asGfn(first + random.below(pages));
    const kind = random.chance(writePercent) ? AccessKind.write : AccessKind.read;
    const result = yield* guestAccess(vcpu, gfn, kind);
    if (result > GuestResult.mmio) return result;
  }
  return yield* guestIoExit(vcpu);
}

export interface MixedPass {
  readonly row: PageRow;
  /** Of 100 pages so many are written, the others read. */
  readonly writePercent: number;
  readonly random: Random;
}

/** Goes once over a row of pages, writing a share of them (memstress's guest code, with -w and its sequential order). */
export function* passOver(vcpu: Vcpu, options: MixedPass): Task<GuestResult> {
  const { row, writePercent, random } = options;
  for (let i = 0; i < row.count; i++) {
    const gfn = asGfn(row.first + i * row.stride);
    const writes = writePercent >= 100 || random.chance(writePercent);
    const result = yield* guestAccess(vcpu, gfn, writes ? AccessKind.write : AccessKind.read);
    if (result > GuestResult.mmio) return result;
  }
  return yield* guestIoExit(vcpu);
}
