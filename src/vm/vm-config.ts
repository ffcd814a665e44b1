/**
 * What a VM is made of: the one record with everything that its layout and its behaviour follow from.
 *
 * The arena is laid out from it by arithmetic alone, so every thread that has the record finds every word.
 */
import type { KvmConfig } from '../mmu/kvm.ts';
import { PG_LEVEL_1G, PG_LEVEL_2M } from '../mmu/level.ts';
import type { ParamName } from '../mmu/params.ts';
import { HASH_BUCKETS } from '../shadow/shadow-layout.ts';
import { VCPU_AREA_DEFAULTS, type VcpuAreaConfig } from './vcpu-layout.ts';

/**
 * How the host backs a region: anonymous memory without huge pages (MADV_NOHUGEPAGE), with transparent ones
 * (MADV_HUGEPAGE), or hugetlbfs pages of 2M or 1G.
 */
export type Backing = '4k' | 'thp' | '2m' | '1g';

/** A mapping of the host process that memslots may refer to. */
export interface MemoryRegionConfig {
  readonly name: string;
  readonly type: Backing;
  /** Size in 4K pages, up to 16 TiB; for hugetlbfs a multiple of the huge page. */
  readonly pages: number;
  /** MAP_POPULATE: all pages are there from the start, writable. */
  readonly populate?: boolean;
  /** A userfaultfd handler supplies missing pages, one 4K page (or hugetlbfs page) at a time. */
  readonly userfaultfd?: boolean;
}

export interface VmConfig extends KvmConfig, VcpuAreaConfig {
  /** Which MMU: the TDP MMU, or the rmap-based one under a spinlock that it replaced. */
  readonly mmu: 'tdp' | 'shadow';
  /**
   * The rmap-based MMU only: descriptors of reverse maps with more than one entry (struct pte_list_desc); null: enough for every
   * page of `memory` to be mapped twice.
   */
  readonly rmapDescriptors: number | null;
  /** The rmap-based MMU only: buckets of its page hash, a power of two. */
  readonly mmuPageHashBuckets: number;
  readonly memory: readonly MemoryRegionConfig[];
  /** Memslots that an address space can hold at a time (KVM_USER_MEM_SLOTS is 32764). */
  readonly maxMemslots: number;
  /** Frames that each guest page has at its disposal: a page that is dropped and comes back gets the next one. */
  readonly frameGenerations: number;
  /** Keep a version of the contents of every frame, which guest writes count up. */
  readonly trackContents: boolean;
  /** Words for dirty bitmaps and host page tables; null: enough for `memory`, fully mapped by 4K pages and logged. */
  readonly heapWords: number | null;
  /** Spinlocks over which the host's page tables are spread. */
  readonly hostPageTableLocks: number;
  /** Parameters that differ from their defaults: see `params.ts`. */
  readonly params: Readonly<Partial<Record<ParamName, number>>>;
}

/** All defaults: one vCPU of a 6.12 kernel on AMD, without memory. */
export const VM_DEFAULTS: VmConfig = {
  vcpus: 1,
  threads: 4,
  kernel: '6.12',
  cpu: 'npt',
  lock: 'rwlock',
  entries: 512,
  rootLevel: 4,
  maxGfn: 2 ** 34,
  tablePages: 4096,
  adBits: true,
  mmu: 'tdp',
  rmapDescriptors: null,
  mmuPageHashBuckets: HASH_BUCKETS,
  ...VCPU_AREA_DEFAULTS,
  memory: [],
  maxMemslots: 32,
  frameGenerations: 4,
  trackContents: false,
  heapWords: null,
  hostPageTableLocks: 64,
  params: {},
};

/** Completes `options` with the defaults. Errors: RangeError for a record that describes no VM. */
export function vmConfig(options: Partial<VmConfig>): VmConfig {
  const shadow = options.mmu === 'shadow';
  check(!shadow || options.lock !== 'rwlock', "lock: 'rwlock': the rmap-based MMU has a spinlock");
  const config: VmConfig = { ...VM_DEFAULTS, ...options, ...(shadow ? { lock: 'spinlock' } : {}) };
  check(config.mmu === 'tdp' || shadow, `mmu: '${config.mmu}' is neither 'tdp' nor 'shadow'`);
  check(config.vcpus >= 0 && config.threads >= 1, 'a VM needs a thread');
  check(config.frameGenerations >= 1, `frameGenerations: ${config.frameGenerations} is not positive`);
  check(config.entries >= 2 && Number.isInteger(Math.log2(config.entries)), `entries: ${config.entries} is no power of two`);
  const buckets = config.mmuPageHashBuckets;
  check(buckets >= 1 && Number.isInteger(Math.log2(buckets)), `mmuPageHashBuckets: ${buckets} is no power of two`);
  const names = new Set(config.memory.map(({ name }) => name));
  check(names.size === config.memory.length, 'two memory regions have one name');
  for (const region of config.memory) {
    const unit = region.type === '2m' || region.type === '1g' ? spanOf(config, region.type) : 1;
    const whole = Number.isInteger(region.pages) && region.pages > 0 && region.pages % unit === 0;
    check(region.pages < 2 ** 32, `memory ${region.name}: ${region.pages} pages are too many`);
    check(whole, `memory ${region.name}: ${region.pages} pages are no positive multiple of ${unit}`);
  }
  return config;
}

/** Pages of the unit in which the host's upper page-table level maps a region: 2M, or 1G for hugetlbfs of that size. */
export function spanOf(config: KvmConfig, type: Backing): number {
  return config.entries ** ((type === '1g' ? PG_LEVEL_1G : PG_LEVEL_2M) - 1);
}

function check(condition: boolean, message: string): void {
  if (!condition) throw new RangeError(message);
}
