/**
 * Module parameters and VM capabilities: words of the arena, because some may change while the VM runs
 * (kernel: /sys/module/kvm/parameters, KVM_ENABLE_CAP).
 */
import type { Memory } from '../machine/memory.ts';
import { type Address, own } from '../machine/point.ts';

/**
 * Ways to walk: one entry a step; the same, but root zaps skip up to 32 empty ones a step; or every walk visits present ones
 * only.
 */
export const IterMode = { plain: 0, skip32: 1, onlyPresent: 2 } as const;
export type IterMode = (typeof IterMode)[keyof typeof IterMode];

/** The ways to walk, by the names that users give them. */
export const ITER_MODES = { plain: IterMode.plain, skip32: IterMode.skip32, 'only-present': IterMode.onlyPresent } as const;
export type IterName = keyof typeof ITER_MODES;

/** Every parameter: its word, its default, and what it means. */
export const PARAMS = {
  eagerPageSplit: { word: 0, default: 1, help: 'split huge pages when dirty logging begins (kvm.eager_page_split)' },
  nxHugePages: { word: 1, default: 0, help: 'no executable huge pages (kvm.nx_huge_pages)' },
  nxHugePagesRecoveryRatio: {
    word: 2,
    default: 60,
    help: '1/n of the split pages is recovered a period (kvm.nx_huge_pages_recovery_ratio)',
  },
  pml: { word: 3, default: 0, help: 'page modification logging (kvm_intel.pml)' },
  manualProtect: { word: 4, default: 0, help: 'KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 1 manual protect, 3 with INITIALLY_SET' },
  slotZapAll: { word: 5, default: 1, help: 'KVM_X86_QUIRK_SLOT_ZAP_ALL: deleting a memslot zaps everything' },
  iterMode: { word: 6, default: IterMode.plain, help: 'how walks pass non-present entries: 0 plain, 1 skip32, 2 only present' },
  dirtyRingSize: { word: 7, default: 0, help: 'KVM_CAP_DIRTY_LOG_RING: entries a vCPU, 0 for the bitmap' },
  mmioCaching: { word: 8, default: 1, help: 'MMIO SPTEs (kvm.mmio_caching)' },
  needbreak: { word: 9, default: 1, help: 'walks give mmu_lock up to waiters; 0 as with voluntary preemption' },
} as const;

export type ParamName = keyof typeof PARAMS;
export const PARAM_WORDS = 16;

export class Params {
  readonly #memory: Memory;
  readonly #base: Address;

  constructor(memory: Memory, base: Address) {
    this.#memory = memory;
    this.#base = base;
  }

  get(name: ParamName): number {
    return this.#word(PARAMS[name].word);
  }

  /** Callers hold slots_lock, or no vCPU runs. */
  set(name: ParamName, value: number): void {
    this.#memory.store32(own((this.#base + PARAMS[name].word) as Address), value);
  }

  get eagerPageSplit(): boolean {
    return this.#word(PARAMS.eagerPageSplit.word) !== 0;
  }

  get nxHugePages(): boolean {
    return this.#word(PARAMS.nxHugePages.word) !== 0;
  }

  get pml(): boolean {
    return this.#word(PARAMS.pml.word) !== 0;
  }

  /** KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE */
  get manualProtect(): boolean {
    return (this.#word(PARAMS.manualProtect.word) & 1) !== 0;
  }

  /** KVM_DIRTY_LOG_INITIALLY_SET */
  get initiallySet(): boolean {
    return (this.#word(PARAMS.manualProtect.word) & 2) !== 0;
  }

  get iterMode(): IterMode {
    return this.#word(PARAMS.iterMode.word) as IterMode;
  }

  #word(index: number): number {
    return this.#memory.load32(own((this.#base + index) as Address));
  }
}
