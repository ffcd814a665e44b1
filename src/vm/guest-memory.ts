/**
 * The content of guest memory, as far as it is modelled: a version for each host frame, one more at each write.
 *
 * A stale translation gives the wrong frame, and the version of that one moves: so a missing flush loses a write.
 */
import { InvariantError } from '../machine/invariant.ts';
import { read, rmw, type Task } from '../machine/point.ts';
import type { Gfn, Pfn } from '../mmu/level.ts';
import { FREE_FRAME } from './frames.ts';
import { AccessKind } from './page-walker.ts';
import type { Vcpu } from './vcpu.ts';
import { VcpuCounter } from './vcpu-counters.ts';

/**
 * Reads or writes frame `pfn`, which the guest knows as `gfn`. Nothing happens where contents are not tracked.
 * Errors: freed-frame, where the host has taken the frame back: somebody forgot a flush, or came too late with it.
 */
export function* accessFrame(vcpu: Vcpu, pfn: Pfn, gfn: Gfn, kind: AccessKind): Task<void> {
  const { memory, contentWord, observer } = vcpu;
  if (contentWord === null) return;
  const word = contentWord(pfn);
  if (kind === AccessKind.write) {
    const old = memory.add32(yield rmw(word), 1);
    if (old === FREE_FRAME) throw freedFrame(vcpu, pfn, gfn);
    vcpu.version = old + 1;
    vcpu.counters[VcpuCounter.guest_writes]++;
    if (observer !== null) observer.wrote(vcpu.id, gfn, pfn, vcpu.version);
  } else {
    vcpu.version = memory.load32(yield read(word));
    if (vcpu.version === FREE_FRAME) throw freedFrame(vcpu, pfn, gfn);
    if (observer !== null) observer.read(vcpu.id, gfn, pfn, vcpu.version);
  }
}

function freedFrame(vcpu: Vcpu, pfn: Pfn, gfn: Gfn): InvariantError {
  const [frame, page] = [pfn, gfn].map((n) => `0x${n.toString(16)}`);
  return new InvariantError(
    'freed-frame',
    `vCPU ${vcpu.id} accesses frame ${frame} as gfn ${page}, but the host has taken it back`,
  );
}
