/**
 * A fixed sequence of one vCPU and the ioctls around it, which comes by most of what the MMU does. It is single source: tests
 * run it as a coroutine, and erased.
 */

import { mutexLock, mutexUnlock } from '../../../src/machine/mutex.ts';
import type { Task } from '../../../src/machine/point.ts';
import { rcuBarrier } from '../../../src/machine/rcu.ts';
import { asGfn } from '../../../src/mmu/level.ts';
import { SlotFlag } from '../../../src/mmu/memslot.ts';
import { Site } from '../../../src/mmu/site.ts';
import { kvmMmuZapAllFast } from '../../../src/mmu/zap-all.ts';
import { clearDirtyLog, getDirtyLog } from '../../../src/vm/dirty-log.ts';
import { guestAccess } from '../../../src/vm/guest.ts';
import { hostAge, hostCollapse, hostDontneed, hostMigratePages } from '../../../src/vm/host-operations.ts';
import { deleteMemslot, enableManualDirtyLogProtect, moveMemslot, setMemslotFlags } from '../../../src/vm/ioctl.ts';
import { AccessKind } from '../../../src/vm/page-walker.ts';
import { setUserMemoryRegion } from '../../../src/vm/set-memory-region.ts';
import { Vcpu } from '../../../src/vm/vcpu.ts';
import { VcpuArea } from '../../../src/vm/vcpu-layout.ts';
import { vcpuDestroy, vcpuLeaveGuest } from '../../../src/vm/vcpu-run.ts';
import type { Vm } from '../../../src/vm/vm.ts';
import type { VmConfig } from '../../../src/vm/vm-config.ts';

/** Small tables, so that few pages fill many of them. */
export const CONFIG: Partial<VmConfig> = {
  vcpus: 1,
  threads: 2,
  entries: 16,
  maxGfn: 2 ** 14,
  tablePages: 128,
  trackContents: true,
  memory: [
    { name: 'huge', type: 'thp', pages: 512 },
    { name: 'small', type: '4k', pages: 70 },
  ],
};

const HUGE = { slot: 0 };
const SMALL_GFN = 2048;

/** Returns what the operations returned, in order: engines must agree on that as well. */
export function* sequence(vm: Vm): Task<number[]> {
  const { kvm } = vm;
  const log: number[] = [];
  const area = new VcpuArea(vm.vcpuArea(0), vm.config);
  const vcpu = new Vcpu({ kvm, id: 0, area, contentWord: vm.contentWord });
  const [huge, small] = vm.space.regions;

  log.push(yield* setUserMemoryRegion(vm, { slot: 0, baseGfn: 0, pages: 512, region: huge.index }));
  log.push(yield* setUserMemoryRegion(vm, { slot: 1, baseGfn: SMALL_GFN, pages: 70, region: small.index }));
  yield* touch(vcpu, log, { first: 0, pages: 512, stride: 5 }, AccessKind.write);
  yield* touch(vcpu, log, { first: SMALL_GFN, pages: 70, stride: 1 }, AccessKind.read);
  yield* touch(vcpu, log, { first: 4096, pages: 2, stride: 1 }, AccessKind.write);

  for (const manual of [0, 1, 3]) {
    log.push(yield* enableManualDirtyLogProtect(vm, manual));
    log.push(yield* setMemslotFlags(vm, HUGE, SlotFlag.logDirty));
    yield* touch(vcpu, log, { first: 3, pages: 300, stride: 7 }, AccessKind.write);
    const { result, bitmap } = yield* getDirtyLog(vm, HUGE);
    log.push(result, ...bitmap);
    if (manual !== 0) log.push(yield* clearDirtyLog(vm, { ...HUGE, firstPage: 64, pages: 256, bitmap: bitmap.slice(2, 10) }));
    yield* touch(vcpu, log, { first: 60, pages: 80, stride: 1 }, AccessKind.write);
    log.push(...(yield* getDirtyLog(vm, HUGE)).bitmap);
    log.push(yield* setMemslotFlags(vm, HUGE, 0));
    yield* touch(vcpu, log, { first: 0, pages: 512, stride: 9 }, AccessKind.read);
  }

  yield* hostDontneed(vm, huge, { first: 30, pages: 100 });
  yield* touch(vcpu, log, { first: 0, pages: 200, stride: 3 }, AccessKind.write);
  log.push(yield* hostAge(vm, small, { first: 0, pages: 70 }, 'clear_flush_young'));
  yield* touch(vcpu, log, { first: SMALL_GFN, pages: 70, stride: 2 }, AccessKind.write);
  yield* hostMigratePages(vm, small, { first: 10, pages: 20 });
  yield* touch(vcpu, log, { first: SMALL_GFN, pages: 70, stride: 1 }, AccessKind.write);
  yield* hostCollapse(vm, huge, { first: 0, pages: 512 });
  yield* touch(vcpu, log, { first: 0, pages: 512, stride: 1 }, AccessKind.write);

  yield* mutexLock(kvm.slotsLock, kvm.thread, Site.user);
  yield* kvmMmuZapAllFast(kvm);
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
  yield* touch(vcpu, log, { first: 0, pages: 512, stride: 31 }, AccessKind.exec);
  log.push(yield* moveMemslot(vm, { slot: 1 }, SMALL_GFN + 256));
  yield* touch(vcpu, log, { first: SMALL_GFN + 256, pages: 70, stride: 1 }, AccessKind.write);
  log.push(yield* deleteMemslot(vm, HUGE));
  yield* touch(vcpu, log, { first: SMALL_GFN + 256, pages: 70, stride: 4 }, AccessKind.read);
  yield* vcpuDestroy(vcpu);
  yield* rcuBarrier(kvm.rcu, kvm.allocator, kvm.thread);
  return log;
}

interface Row {
  readonly first: number;
  readonly pages: number;
  readonly stride: number;
}

function* touch(vcpu: Vcpu, log: number[], { first, pages, stride }: Row, kind: AccessKind): Task<void> {
  for (let page = 0; page < pages; page += stride) {
    log.push(yield* guestAccess(vcpu, asGfn(first + page), kind));
    log.push(vcpu.version);
  }
  // Whoever asks for a flush waits until the vCPU has left the guest, and nobody else runs.
  if (vcpu.inGuest) yield* vcpuLeaveGuest(vcpu);
}
