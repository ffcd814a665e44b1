/**
 * One pass of the guest over its memory (kernel: memstress_guest_code in lib/memstress.c): every page once, in order or at
 * random, a share of them written; or a part of such a pass.
 */
import { InvariantError } from '../../machine/invariant.ts';
import type { Task } from '../../machine/point.ts';
import { asGfn } from '../../mmu/level.ts';
import { guestAccess, guestIoExit } from '../../vm/guest.ts';
import { AccessKind } from '../../vm/page-walker.ts';
import type { Random } from '../../vm/random.ts';
import { GuestResult, type Vcpu } from '../../vm/vcpu.ts';
import type { Control } from './control.ts';

/** Accesses between two looks at whether the run is stopped. */
const LOOK_EVERY = 64;

export interface GuestPass {
  readonly first: number;
  readonly count: number;
  /** Of 100 accesses so many write. */
  readonly writePercent: number;
  readonly randomAccess: boolean;
  readonly random: Random;
  /** Pages from one access to the next, where not every page is touched. */
  readonly stride?: number;
  /** Accesses made, where it is not one for each page: of pages in order those from `from` on, and again from the first. */
  readonly accesses?: number;
  readonly from?: number;
  /** Whether an access may fail because the host does not allow it (EFAULT): it is left out then. */
  readonly mayFault?: boolean;
}

/** One run of the vCPU. False where the run was stopped before its end. */
export function* guestPass(vcpu: Vcpu, control: Control, pass: GuestPass): Task<boolean> {
  const { first, count, writePercent, randomAccess, random, stride = 1, from = 0 } = pass;
  const places = Math.ceil(count / stride);
  const { accesses = places } = pass;
  for (let i = 0; i < accesses; i++) {
    if (i % LOOK_EVERY === 0 && (yield* control.stopped())) return false;
    const gfn = asGfn(first + stride * (randomAccess ? random.below(places) : (from + i) % places));
    const writes = writePercent >= 100 || random.chance(writePercent);
    const result = yield* guestAccess(vcpu, gfn, writes ? AccessKind.write : AccessKind.read);
    if (result > GuestResult.mmio && !(result === GuestResult.fault && pass.mayFault === true)) throw accessFailed(gfn, result);
  }
  yield* guestIoExit(vcpu);
  return true;
}

const REASONS: readonly string[] = [
  '',
  '',
  'the dirty ring is full',
  'EFAULT',
  'ENOMEM: too few page-table pages',
  'the VM is dead',
];

export function accessFailed(gfn: number, result: GuestResult): InvariantError {
  const rule = result === GuestResult.noMemory ? 'out-of-page-tables' : 'guest-access-failed';
  return new InvariantError(rule, `KVM_RUN failed for an access to gfn 0x${gfn.toString(16)}: ${REASONS[result]}`);
}
