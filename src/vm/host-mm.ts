/**
 * What userfaultfd does to the VMM's `mm_struct` for each page that it supplies (kernel: hva_to_pfn in virt/kvm/kvm_main.c,
 * handle_userfault and userfaultfd_copy in fs/userfaultfd.c, mfill_atomic in mm/userfaultfd.c).
 *
 * Three words, each on a line of its own, that the threads of all vCPUs and of their handlers update for every page:
 * mmap_lock, which all of them take for read, `mm_users`, and the counter of resident pages. Nobody waits for anybody here,
 * as nothing takes mmap_lock for write while a guest is faulted in; what counts is the lines' way from CPU to CPU, once
 * mmu_lock no longer keeps the faults apart.
 *
 * Left out: the same for anonymous memory that is not registered with userfaultfd, for which one read section would do; VMAs
 * are changed under `HostSpace.mmapLock`.
 */
import { Cost } from '../machine/cost.ts';
import { type Address, count, spend, type Task } from '../machine/point.ts';
import type { HostSpace } from './host-space.ts';

/** Words of the block: see above. */
export const HostMmWord = { mmapLockReaders: 0, users: 16, residentPages: 32 } as const;
export const HOST_MM_WORDS = 48;

function* add(space: HostSpace, word: number, delta: number): Task<void> {
  space.memory.add32(yield count((space.mm + word) as Address), delta);
}

/** down_read() and up_read(), one atomic addition each, with nothing in between that others could see. */
function* mmapReadSection(space: HostSpace): Task<void> {
  yield* add(space, HostMmWord.mmapLockReaders, 1);
  yield* add(space, HostMmWord.mmapLockReaders, -1);
}

/**
 * From get_user_pages that finds no page to the page that the handler has copied. The handler's share is in here: one handler a
 * vCPU works while the vCPU sleeps.
 */
export function* handleUserfault(space: HostSpace): Task<void> {
  // FOLL_NOWAIT first, for an asynchronous page fault; then hva_to_pfn looks for the VMA, to see that it makes sense to wait.
  yield* mmapReadSection(space);
  yield* mmapReadSection(space);
  // The fault that waits lets go of mmap_lock before it sleeps.
  yield* mmapReadSection(space);
  yield spend(Cost.userfaultfd);
  // UFFDIO_COPY: mmget, the copy under mmap_lock, mmput.
  yield* add(space, HostMmWord.users, 1);
  yield* add(space, HostMmWord.mmapLockReaders, 1);
  yield* add(space, HostMmWord.residentPages, 1);
  yield* add(space, HostMmWord.mmapLockReaders, -1);
  yield* add(space, HostMmWord.users, -1);
  // Awake, get_user_pages takes the lock again to find the page.
  yield* mmapReadSection(space);
}
