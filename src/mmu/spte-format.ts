/**
 * SPTE bit layouts as records: Intel EPT and AMD NPT (kernel: arch/x86/kvm/mmu/spte.{h,c}, kvm_mmu_set_ept_masks and
 * kvm_mmu_reset_all_pte_masks).
 *
 * Bits 0, 1, 7, 11, 12-51, 52-53 and 63 mean the same in both; the rest is in the record.
 */
import { bit64, or64, Word64, ZERO64 } from '../machine/word64.ts';

export type CpuName = 'npt' | 'ept';

/** One named bit field of a format, for decoding, printing and the documentation. */
export interface SpteBit {
  readonly name: string;
  readonly bit: number;
  readonly help: string;
}

export interface SpteFormat {
  readonly name: CpuName;
  /** What every present entry has: R (EPT) or P (NPT). */
  readonly present: Word64;
  /** Granted when the role allows user access. NPT: U, always set. EPT: none. */
  readonly user: Word64;
  /** Set where execution is allowed (EPT X). */
  readonly executable: Word64;
  /** Set where it is not (NPT NX). */
  readonly noExecute: Word64;
  readonly accessed: Word64;
  readonly dirty: Word64;
  /** SPTE_HOST_WRITEABLE: the host mapping was writable when the leaf was made. */
  readonly hostWritable: Word64;
  /** SPTE_MMU_WRITEABLE: W may be set again without mmu_lock. */
  readonly mmuWritable: Word64;
  /** Memory type of a leaf: write-back, ignoring the guest's PAT (EPT). */
  readonly memoryType: Word64;
  /** Bits kept while access-tracked, and how far they are shifted to be saved (SHADOW_ACC_TRACK_SAVED_BITS_SHIFT). */
  readonly accessTrack: { readonly mask: Word64; readonly shift: number };
  /** MMIO SPTEs: the value and the bits that tell one. */
  readonly mmioValue: Word64;
  readonly mmioMask: Word64;
  /** Access bits that an MMIO SPTE records. */
  readonly mmioAccess: Word64;
  readonly bits: readonly SpteBit[];
}

const both = (...bits: number[]): Word64 => bits.map(bit64).reduce(or64, ZERO64);

const SHARED_BITS: readonly SpteBit[] = [
  { name: 'W', bit: 1, help: 'writable' },
  { name: 'PS', bit: 7, help: 'huge leaf' },
  { name: 'MMU_PRESENT', bit: 11, help: 'shadow-present (software)' },
  { name: 'AD_DISABLED', bit: 52, help: 'A/D bits not used in this SPTE' },
  { name: 'AD_WRPROT_ONLY', bit: 53, help: 'A used, dirty logging by write protection' },
];

export const NPT: SpteFormat = {
  name: 'npt',
  present: bit64(0),
  user: bit64(2),
  executable: ZERO64,
  noExecute: bit64(63),
  accessed: bit64(5),
  dirty: bit64(6),
  hostWritable: bit64(9),
  mmuWritable: bit64(10),
  memoryType: ZERO64,
  accessTrack: { mask: ZERO64, shift: 54 },
  mmioValue: both(51, 0),
  mmioMask: both(51, 0),
  mmioAccess: both(1, 2),
  bits: [
    { name: 'P', bit: 0, help: 'present' },
    { name: 'U', bit: 2, help: 'user' },
    { name: 'A', bit: 5, help: 'accessed' },
    { name: 'D', bit: 6, help: 'dirty' },
    { name: 'HOST_W', bit: 9, help: 'host mapping writable (software)' },
    { name: 'MMU_W', bit: 10, help: 'W may be restored without mmu_lock (software)' },
    { name: 'NX', bit: 63, help: 'no execute' },
    ...SHARED_BITS,
  ],
};

/** Write-back is 6 in bits 3-5; bit 6 ignores the guest's PAT. */
const EPT_WRITE_BACK = new Word64((6 << 3) | (1 << 6), 0);

export const EPT: SpteFormat = {
  name: 'ept',
  present: bit64(0),
  user: ZERO64,
  executable: bit64(2),
  noExecute: ZERO64,
  accessed: bit64(8),
  dirty: bit64(9),
  hostWritable: bit64(57),
  mmuWritable: bit64(58),
  memoryType: EPT_WRITE_BACK,
  accessTrack: { mask: both(0, 2), shift: 54 },
  mmioValue: both(1, 2),
  mmioMask: both(0, 1, 2),
  mmioAccess: ZERO64,
  bits: [
    { name: 'R', bit: 0, help: 'readable' },
    { name: 'X', bit: 2, help: 'executable' },
    { name: 'A', bit: 8, help: 'accessed' },
    { name: 'D', bit: 9, help: 'dirty' },
    { name: 'SAVED_R', bit: 54, help: 'R while access-tracked' },
    { name: 'SAVED_X', bit: 56, help: 'X while access-tracked' },
    { name: 'HOST_W', bit: 57, help: 'host mapping writable (software)' },
    { name: 'MMU_W', bit: 58, help: 'W may be restored without mmu_lock (software)' },
    { name: 'SVE', bit: 63, help: 'suppress #VE' },
    ...SHARED_BITS,
  ],
};

export const FORMATS: Readonly<Record<CpuName, SpteFormat>> = { npt: NPT, ept: EPT };
