/**
 * Work that touches nothing shared but takes time on a real machine. The single source names it with `spend(Cost.x)`; the
 * virtual engine's machine profiles price it in nanoseconds; the other engines ignore it.
 */
export const Cost = {
  /** Leaving the guest: exit, state save, dispatch to the handler. */
  vmExit: 0,
  /** Entering the guest again. */
  vmEnter: 1,
  /** One guest load or store whose translation is in the TLB. */
  guestAccess: 2,
  /** One level of a hardware page walk, apart from the load itself. */
  walkLevel: 3,
  /** get_user_pages of one page that the host has mapped. */
  gup: 4,
  /** The host faults in one anonymous 4K page: allocation, zeroing, rmap. */
  hostFault: 5,
  /** A userfaultfd round trip for one page. */
  userfaultfd: 6,
  /** Allocating and initialising one page-table page. */
  tableAlloc: 7,
  /** Freeing one page-table page. */
  tableFree: 8,
  /** Handling one SPTE change: statistics, accessed and dirty hand-over. */
  spteChange: 9,
  /** One step of a page-table walk by software, apart from the load itself. */
  iterStep: 10,
  /** Copying 64 bits of a dirty bitmap to or from user space. */
  bitmapWord: 11,
  /** Delivery of one IPI to a running vCPU. */
  ipi: 12,
  /** Flushing the local TLB. */
  tlbFlush: 13,
  /** The body of a page fault outside the lock: decoding, slot look-up, retry tests. */
  faultPath: 14,
  /** A system call from the VMM and back. */
  syscall: 15,
  /** Giving the processor away in cond_resched. */
  reschedule: 16,
  /** User-space work on one page that the dirty log reported (see the workload). */
  userPage: 17,
  /** An emulated instruction. */
  emulate: 18,
  /** Initialising one child entry when a huge page is split. */
  splitEntry: 19,
  /** Passing one page of a bucket of the rmap-based MMU's page hash: a load that follows a pointer to far away. */
  hashedPage: 20,
  /** One page of kernel memory by kvzalloc: allocated, cleared, mapped. */
  kernelPage: 21,
  /** What synchronize_srcu_expedited takes beyond the readers: its workers are woken, and wake the caller. */
  srcuGracePeriod: 22,
  /** Setting up a walk by software: finding the root, the iterator's fields. */
  walkStart: 23,
} as const;

export type Cost = (typeof Cost)[keyof typeof Cost];
