/**
 * The operations of scripts, as coroutines: what each word of the scenario language does to a VM.
 *
 * Each returns what a recording says about such a call: '' where there is nothing to say.
 */
import { mutexLock, mutexUnlock } from '../../machine/mutex.ts';
import type { Task } from '../../machine/point.ts';
import { collectDirtyRing, kvmResetDirtyRings } from '../../mmu/dirty-ring.ts';
import { asGfn } from '../../mmu/level.ts';
import { kvmRecoverNxHugePages } from '../../mmu/nx-recovery.ts';
import { kvmWriteTrackAddGfn, kvmWriteTrackRemoveGfn } from '../../mmu/page-track.ts';
import type { ParamName } from '../../mmu/params.ts';
import { kvmMmuNewPgd } from '../../mmu/root-load.ts';
import { Site } from '../../mmu/site.ts';
import { kvmMmuZapAllFast } from '../../mmu/zap-all.ts';
import { kvmZapGfnRange } from '../../mmu/zap-leafs.ts';
import type { Operation, Values } from '../../script/vocabulary.ts';
import { Errno } from '../../vm/errno.ts';
import { guestAccess, guestIoExit } from '../../vm/guest.ts';
import { type Aging, hostAge, hostMigratePages, hostTouch, type PageRange } from '../../vm/host-operations.ts';
import { hostMadvise, hostMprotect, hostMunmap, hostRemap } from '../../vm/host-vma.ts';
import { clearDirtyLog, deleteMemslot, getDirtyLog, moveMemslot, setMemslotFlags, setParameter } from '../../vm/ioctl.ts';
import { AccessKind } from '../../vm/page-walker.ts';
import { preFaultMemory } from '../../vm/pre-fault.ts';
import { setUserMemoryRegion } from '../../vm/set-memory-region.ts';
import { GuestResult, type Vcpu } from '../../vm/vcpu.ts';
import type { Vm } from '../../vm/vm.ts';

/** What an operation runs with. */
export interface ScriptContext {
  /** The handle of the thread that runs it. */
  readonly vm: Vm;
  readonly vcpu: (id: number) => Vcpu;
  /** Names of the host's regions in the order of their addresses: reclaim looks at them so. */
  readonly regionsByAddress: readonly string[];
  /** Whether the host's reclaim walks page tables: if not, an aging pass finds nothing to do. */
  readonly reclaimWalksTables: boolean;
  /** Takes what `resched` and `allocfail` ask for; absent, they have no effect. */
  readonly disturb?: (what: 'resched' | 'allocfail', every: number) => void;
}

const PAGE_BYTES = 4096;
/** The command of the recorded scripts that makes reclaim age the process. */
const AGING_SCRIPT = 'age.sh';
const KINDS: Readonly<Record<string, AccessKind>> = { r: AccessKind.read, w: AccessKind.write, x: AccessKind.exec };
const ERROR_TEXT: Readonly<Record<number, string>> = {
  [Errno.ENOENT]: 'No such file or directory',
  [Errno.ENXIO]: 'No such device or address',
  [Errno.ENOMEM]: 'Cannot allocate memory',
  [Errno.EFAULT]: 'Bad address',
  [Errno.EEXIST]: 'File exists',
  [Errno.EINVAL]: 'Invalid argument',
};

const hex = (n: number): string => `0x${n.toString(16)}`;
const errnoText = (errno: number): string => `errno=${errno}(${ERROR_TEXT[errno] ?? `error ${errno}`})`;
/** `ret=0 errno=0`, or `ret=-1 errno=22`. */
const returned = (result: number): string => (result < 0 ? `ret=-1 errno=${-result}` : 'ret=0 errno=0');
/** What calls on host memory say: `ret=0`, or as {@link returned}. */
const hostReturned = (result: number): string => (result < 0 ? returned(result) : 'ret=0');
const regionCall = (result: number): string => (result < 0 ? `SET_USER_MEMORY_REGION ${errnoText(-result)}` : '');
const rangeOf = (off: number, bytes: number): PageRange => ({ first: off / PAGE_BYTES, pages: bytes / PAGE_BYTES });

/** Runs one operation other than those that make and end the VM. */
export function* runOperation(context: ScriptContext, operation: Operation): Task<string> {
  const { vm } = context;
  switch (operation.op) {
    case 'touch':
    case 'atouch':
      return yield* touch(context, operation.values);
    case 'prefault':
      return yield* prefault(context, operation.values);
    case 'slot':
      return yield* createSlot(vm, operation.values);
    case 'setflags': {
      const { id, as, flags } = operation.values;
      return regionCall(yield* setMemslotFlags(vm, { slot: id, asId: as }, flags));
    }
    case 'moveslot': {
      const { id, as, gfn } = operation.values;
      return regionCall(yield* moveMemslot(vm, { slot: id, asId: as }, gfn));
    }
    case 'delslot':
      return regionCall(yield* deleteMemslot(vm, { slot: operation.values.id, asId: operation.values.as }));
    case 'getlog':
      return yield* getlog(vm, operation.values);
    case 'clearlog':
      return yield* clearlog(vm, operation.values);
    case 'getring':
      return yield* getring(vm, operation.values);
    case 'resetrings':
      return yield* resetrings(vm);
    case 'madvise':
      return yield* madvise(vm, operation.values);
    case 'mprotect': {
      const { mem, off, len, prot } = operation.values;
      const result = yield* hostMprotect(vm, vm.region(mem), rangeOf(off, len), prot === 'r' ? 'read' : 'read-write');
      return `mprotect ${hostReturned(result)}`;
    }
    case 'munmap': {
      const { mem, off, len } = operation.values;
      return `munmap ${hostReturned(yield* hostMunmap(vm, vm.region(mem), rangeOf(off, len)))}`;
    }
    case 'remap':
      return yield* remap(vm, operation.values);
    case 'hosttouch': {
      const { mem, off, n, op } = operation.values;
      const done = yield* hostTouch(vm, vm.region(mem), rangeOf(off, n * PAGE_BYTES), op === 'w' ? 'write' : 'read');
      return done ? '' : 'hosttouch SIGSEGV';
    }
    case 'age':
      return yield* age(context, operation.values);
    case 'shell':
      return yield* agingPass(context, operation.values.command);
    case 'param':
      return yield* writeParameter(vm, operation.values);
    case 'role': {
      const { vcpu, smm, nested } = operation.values;
      const { kvm, mmu } = context.vcpu(vcpu);
      yield* kvmMmuNewPgd(kvm, mmu, smm, nested !== 0);
      return '';
    }
    case 'resched':
    case 'allocfail':
      context.disturb?.(operation.op, operation.values.every);
      return '';
    default:
      return yield* runInternal(vm, operation);
  }
}

/** Operations that no script of a real kernel has: what its threads do on their own account. */
function* runInternal(vm: Vm, operation: Operation): Task<string> {
  const { kvm } = vm;
  switch (operation.op) {
    case 'zapall':
      yield* mutexLock(kvm.slotsLock, kvm.thread, Site.kvm_mmu_zap_all_fast);
      yield* kvmMmuZapAllFast(kvm);
      yield* mutexUnlock(kvm.slotsLock, kvm.thread);
      return '';
    case 'zaprange': {
      const { gfn, n } = operation.values;
      yield* kvmZapGfnRange(kvm, asGfn(gfn), asGfn(gfn + n));
      return '';
    }
    case 'recover':
      return `recovered ${yield* kvmRecoverNxHugePages(kvm)}`;
    case 'track': {
      const gfn = asGfn(operation.values.gfn);
      const slot = yield* kvm.slots.find(kvm, 0, gfn);
      if (slot === null) return `track ret=-1 errno=${Errno.ENOENT}`;
      yield* kvmWriteTrackAddGfn(kvm, slot, gfn);
      return '';
    }
    case 'untrack':
      yield* kvmWriteTrackRemoveGfn(kvm, asGfn(operation.values.gfn));
      return '';
    default:
      return '';
  }
}

/** A run of a vCPU (KVM_RUN until the guest has made its accesses). */
export function* touch(context: ScriptContext, values: Values<'touch'>): Task<string> {
  const { gfn, n, stride, op, off } = values;
  const vcpu = context.vcpu(values.vcpu);
  const said: string[] = [];
  for (let i = 0; i < n; i++) {
    const at = gfn + i * stride;
    const result = yield* guestAccess(vcpu, asGfn(at), KINDS[op]);
    if (result === GuestResult.mmio) said.push(`MMIO(gpa=${hex(at * PAGE_BYTES + off)},len=4,${op})`);
    else if (result !== GuestResult.done) return [...said, runError(result, at)].join(' ');
  }
  const end = yield* guestIoExit(vcpu);
  if (end !== GuestResult.done) return [...said, runError(end, 0)].join(' ');
  return said.length > 0 ? said.join(' ') : 'ok';
}

function runError(result: GuestResult, gfn: number): string {
  if (result === GuestResult.fault) return `KVM_RUN=-1,${errnoText(Errno.EFAULT)},at_gfn=${hex(gfn)}`;
  if (result === GuestResult.noMemory) return `KVM_RUN=-1,${errnoText(Errno.ENOMEM)},at_gfn=${hex(gfn)}`;
  if (result === GuestResult.dirtyRingFull) return `DIRTY_RING_FULL,at_gfn=${hex(gfn)}`;
  return `KVM_RUN=-1,${errnoText(Errno.EIO)},at_gfn=${hex(gfn)}`;
}

function* prefault(context: ScriptContext, values: Values<'prefault'>): Task<string> {
  const { gfn, n } = values;
  const { result, done } = yield* preFaultMemory(context.vcpu(values.vcpu), asGfn(gfn), n);
  return `prefault ${returned(result)} left=${hex((n - done) * PAGE_BYTES)}`;
}

function* createSlot(vm: Vm, values: Values<'slot'>): Task<string> {
  const { id, as, gfn, npages, mem, off, flags } = values;
  const region = vm.region(mem).index;
  const regionPage = off / PAGE_BYTES;
  return regionCall(
    yield* setUserMemoryRegion(vm, { slot: id, asId: as, flags, baseGfn: gfn, pages: npages, region, regionPage }),
  );
}

/** Runs of set bits as `gfn+count;`, and how many bits there are. */
export function dirtyRanges(bitmap: Uint32Array, baseGfn: number): { readonly count: number; readonly ranges: string } {
  const ranges: string[] = [];
  let count = 0;
  let start = -1;
  for (let i = 0; i <= 32 * bitmap.length; i++) {
    const set = i < 32 * bitmap.length && (bitmap[i >>> 5] >>> (i & 31)) % 2 === 1;
    if (set) {
      count++;
      if (start < 0) start = i;
    } else if (start >= 0) {
      ranges.push(`${hex(baseGfn + start)}+${i - start};`);
      start = -1;
    }
  }
  return { count, ranges: ranges.join('') };
}

function* getlog(vm: Vm, { id, as }: Values<'getlog'>): Task<string> {
  const slot = (yield* vm.slots.all(vm.kvm, as)).find((s) => s.id === id);
  const { result, bitmap } = yield* getDirtyLog(vm, { slot: id, asId: as });
  if (result < 0) return `getlog ${returned(result)}`;
  const { count, ranges } = dirtyRanges(bitmap, slot?.baseGfn ?? 0);
  return `getlog dirty_count=${count} ranges=${ranges}`;
}

function* clearlog(vm: Vm, { id, as, first, n, every }: Values<'clearlog'>): Task<string> {
  const slot = (yield* vm.slots.all(vm.kvm, as)).find((s) => s.id === id);
  // Of what goes beyond the slot nothing is looked at: the ioctl fails.
  const pages = Math.min(n, slot?.npages ?? 0);
  const bitmap = new Uint32Array(2 * Math.ceil(pages / 64));
  for (let i = 0; i < pages; i += every) bitmap[i >>> 5] |= 1 << (i & 31);
  return `clearlog ${returned(yield* clearDirtyLog(vm, { slot: id, asId: as, firstPage: first, pages: n, bitmap }))}`;
}

function* getring(vm: Vm, { vcpu }: Values<'getring'>): Task<string> {
  if (vm.kvm.layout.dirtyRings === null) return `getring ret=-1 errno=${Errno.EINVAL}`;
  const dirty = yield* collectDirtyRing(vm.kvm, vcpu);
  return `getring ${dirty.map(({ slot, offset }) => `${slot}:${hex(offset)};`).join('')}`;
}

function* resetrings(vm: Vm): Task<string> {
  const { kvm } = vm;
  if (kvm.layout.dirtyRings === null) return `resetrings ret=-1 errno=${Errno.EINVAL}`;
  yield* mutexLock(kvm.slotsLock, kvm.thread, Site.kvm_dirty_ring_reset);
  const taken = yield* kvmResetDirtyRings(kvm);
  yield* mutexUnlock(kvm.slotsLock, kvm.thread);
  return `resetrings ret=${taken} errno=0`;
}

function* madvise(vm: Vm, { mem, off, len, advice }: Values<'madvise'>): Task<string> {
  const region = vm.region(mem);
  const range = rangeOf(off, len);
  let result = 0;
  if (advice === 'migrate') yield* hostMigratePages(vm, region, range);
  else if (advice === 'populate_read' || advice === 'populate_write') {
    const access = advice === 'populate_read' ? 'read' : 'write';
    if (!(yield* hostTouch(vm, region, range, access))) result = -Errno.EINVAL;
  } else result = yield* hostMadvise(vm, region, range, advice);
  return `madvise ${returned(result)}`;
}

function* remap(vm: Vm, { mem, off, len, type, populate }: Values<'remap'>): Task<string> {
  const region = vm.region(mem);
  const range = rangeOf(off, len);
  const result = yield* hostRemap(vm, region, range);
  if (result < 0) return `remap ${returned(result)}`;
  // Fresh anonymous memory comes with the advice that its type says.
  if (type !== undefined && !region.hugetlb) yield* hostMadvise(vm, region, range, type === 'thp' ? 'hugepage' : 'nohugepage');
  if (populate !== 0) yield* hostTouch(vm, region, range, 'write');
  return 'remap ret=0';
}

function* age(context: ScriptContext, { mem, off, len, how }: Values<'age'>): Task<string> {
  const { vm } = context;
  let young = 0;
  for (const name of mem === undefined ? context.regionsByAddress : [mem]) {
    const region = vm.region(name);
    const range = len === undefined ? { first: off / PAGE_BYTES, pages: region.pages - off / PAGE_BYTES } : rangeOf(off, len);
    young += yield* hostAge(vm, region, range, how as Aging);
  }
  return `young ${young}`;
}

/** An aging pass over the process, as the multi-generational LRU makes it: hugetlbfs pages are not reclaimed, so not aged. */
function* agingPass(context: ScriptContext, command: string): Task<string> {
  const { vm } = context;
  if (context.reclaimWalksTables && command.includes(AGING_SCRIPT)) {
    for (const name of context.regionsByAddress) {
      const region = vm.region(name);
      if (!region.hugetlb) yield* hostAge(vm, region, { first: 0, pages: region.pages }, 'clear_young');
    }
  }
  return 'shell rc=0';
}

/** Module parameters by the last part of their path. */
export const MODULE_PARAMETERS: Readonly<Record<string, ParamName>> = {
  eager_page_split: 'eagerPageSplit',
  nx_huge_pages: 'nxHugePages',
  nx_huge_pages_recovery_ratio: 'nxHugePagesRecoveryRatio',
  mmio_caching: 'mmioCaching',
  pml: 'pml',
};

/** What may be written to a parameter, as a number; undefined where it means nothing. */
export function parameterValue(name: ParamName, text: string): number | undefined {
  if (name === 'nxHugePagesRecoveryRatio') return /^\d+$/.test(text) ? Number(text) : undefined;
  // `auto` is on where the processor has the bug; the recorded one does not.
  const values: Readonly<Record<string, number>> = { Y: 1, y: 1, N: 0, n: 0, '1': 1, '0': 0, on: 1, off: 0, force: 1, auto: 0 };
  return values[text];
}

function* writeParameter(vm: Vm, { path, value }: Values<'param'>): Task<string> {
  const name = MODULE_PARAMETERS[path.slice(path.lastIndexOf('/') + 1)];
  yield* setParameter(vm, name, parameterValue(name, value)!);
  return '';
}
