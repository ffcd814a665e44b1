/**
 * The content of guest memory, as far as it is modelled: a version for each host frame, one more at each write.
 *
 * A stale translation gives the wrong frame, and the version of that one moves: so a missing flush loses a write.
 */
import { read, rmw, type Task } from '../machine/point.ts';
import type { Gfn, Pfn } from '../mmu/level.ts';
import { AccessKind } from './page-walker.ts';
import type { Vcpu } from './vcpu.ts';
import { VcpuCounter } from './vcpu-counters.ts';

/** Reads or writes frame `pfn`, which the guest knows as `gfn`. Nothing happens where contents are not tracked. */
export function* accessFrame(vcpu: Vcpu, pfn: Pfn, gfn: Gfn, kind: AccessKind): Task<void> {
  const { memory, contentWord, observer } = vcpu;
  if (contentWord === null) return;
  const word = contentWord(pfn);
  if (kind === AccessKind.write) {
    vcpu.version = memory.add32(yield rmw(word), 1) + 1;
    vcpu.counters[VcpuCounter.guest_writes]++;
    if (observer !== null) observer.wrote(vcpu.id, gfn, pfn, vcpu.version);
  } else {
    vcpu.version = memory.load32(yield read(word));
    if (observer !== null) observer.read(vcpu.id, gfn, pfn, vcpu.version);
  }
}
