/**
 * The locks of the model: their numbers, names and order.
 *
 * A number is the lock's place in a thread's `held` word and its key in reports, so each is 0 to 15. Ranks say in which
 * order locks nest: a lock may be taken while all locks held have lower ranks. The order is the kernel's
 * (Documentation/virt/kvm/locking.rst; for the host's locks mm/rmap.c).
 */
export const LockNumber = {
  slotsLock: 0,
  slotsArchLock: 1,
  mmuLock: 2,
  pagesLock: 3,
  unsyncPagesLock: 4,
  invalidateLock: 5,
  hostPageTable: 6,
  allocator: 7,
  rcu: 8,
  workqueue: 9,
  hostMmap: 10,
} as const;

export type LockNumber = (typeof LockNumber)[keyof typeof LockNumber];

/** Lock numbers are below this. */
export const LOCK_NUMBERS = 16;

/** What the checks know about a lock. */
export interface LockClass {
  /** The kernel's name. */
  readonly name: string;
  /** Position in the lock order: lower ranks are taken first. */
  readonly rank: number;
  /** Whether its holder may sleep, and taking it may put the taker to sleep. */
  readonly sleeps: boolean;
}

/** The classes by lock number; numbers without an entry of their own are innermost spinning locks. */
export const lockClasses: readonly LockClass[] = Object.freeze([
  { name: 'slots_lock', rank: 10, sleeps: true },
  { name: 'slots_arch_lock', rank: 20, sleeps: true },
  { name: 'mmu_lock', rank: 50, sleeps: false },
  { name: 'tdp_mmu_pages_lock', rank: 60, sleeps: false },
  { name: 'mmu_unsync_pages_lock', rank: 61, sleeps: false },
  { name: 'mn_invalidate_lock', rank: 55, sleeps: false },
  // Aging notifiers run with the page table of the host locked, and take mmu_lock.
  { name: 'host_page_table_lock', rank: 40, sleeps: false },
  { name: 'page_allocator', rank: 80, sleeps: false },
  { name: 'rcu', rank: 85, sleeps: false },
  { name: 'workqueue', rank: 70, sleeps: false },
  { name: 'mmap_lock', rank: 30, sleeps: true },
  ...Array.from({ length: 5 }, (_, i) => ({ name: `lock ${11 + i}`, rank: 90 + i, sleeps: false })),
]);

export function lockName(number: number): string {
  return lockClasses[number]?.name ?? `lock ${number}`;
}
