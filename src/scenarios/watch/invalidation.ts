/**
 * Rule: faults heed invalidations, and only those of their gfn. Once a range was zapped for good, nothing may be mapped in it
 * that was looked up before; and a fault does not wait for an invalidation that does not concern it.
 */
import { own, StepKind } from '../../machine/point.ts';
import { KvmWord } from '../../mmu/kvm.ts';
import type { Gfn } from '../../mmu/level.ts';
import { RetPf, RetryReason } from '../../mmu/page-fault-info.ts';
import { Site } from '../../mmu/site.ts';
import { isLastSpte, isShadowPresent } from '../../mmu/spte.ts';
import type { Vm } from '../../vm/vm.ts';
import { breakRule, hex, type SpteChange, type StepRule, type WatchedThread } from './step-rule.ts';

/** How often in a row the test without mmu_lock may err. */
const UNLOCKED_ERRORS = 2;

/** A leaf that a fault installed. */
interface Installed {
  readonly gfn: number;
  readonly end: number;
  /** Number of zaps of ranges that had begun when the fault noted the invalidation sequence. */
  readonly lookedUpAt: number;
}

export class Invalidation implements StepRule {
  readonly name = 'invalidation';
  /** Zaps of ranges (kvm_zap_gfn_range) begun. */
  #zaps = 0;
  /** For each thread: zaps begun when its fault looked; -1 where it has not. */
  readonly #lookedUp: number[] = [];
  readonly #zapping: number[] = [];
  #installed: Installed[] = [];
  /** For each thread the range that it is zapping. */
  readonly #zapped: (readonly [number, number])[] = [];

  /** For each thread: the sequence at which its fault began, where its gfn was being invalidated then; else -1. */
  readonly #doomed: number[] = [];
  /** For each thread, retries in a row for ranges of others, without mmu_lock. */
  readonly #refused: number[] = [];

  reset(): void {
    this.#zaps = 0;
    this.#refused.length = 0;
    this.#doomed.length = 0;
    this.#lookedUp.length = 0;
    this.#zapping.length = 0;
    this.#installed = [];
  }

  pageFault(thread: WatchedThread, gfn: Gfn): void {
    this.#lookedUp[thread.id] = -1;
    this.#doomed[thread.id] = inWindow(thread.vm, gfn) && open(thread.vm) ? sequence(thread.vm) : -1;
  }

  /** A fault that began inside an invalidation of its gfn knows without mmu_lock that it must wait (6.8). */
  mmuLockWanted(thread: WatchedThread, site: number): void {
    const { vm, vcpu, name } = thread;
    if (site !== Site.kvm_tdp_page_fault || vcpu === null || !vm.kvm.generation.unlockedRetryTest) return;
    const { gfn } = vcpu.mmu.fault;
    if (this.#doomed[thread.id] !== sequence(vm) || !open(vm) || !inWindow(vm, gfn)) return;
    breakRule('lock-for-nothing', `${name} queues for mmu_lock to map gfn ${hex(gfn)}, which was being invalidated all along`);
  }

  step(thread: WatchedThread, kind: number, address: number): void {
    if (kind !== StepKind.Read || this.#lookedUp[thread.id] !== -1) return;
    if (address === thread.vm.kvm.word(KvmWord.invalidateSeq)) this.#lookedUp[thread.id] = this.#zaps;
  }

  spteChanged(thread: WatchedThread, { gfn, level, old, next }: SpteChange): void {
    const lookedUpAt = this.#lookedUp[thread.id] ?? -1;
    if (thread.operationName !== 'tdp_map' || lookedUpAt < 0 || isShadowPresent(old)) return;
    if (!isShadowPresent(next) || !isLastSpte(next, level)) return;
    this.#installed.push({ gfn, end: gfn + thread.vm.kvm.geometry.span(level), lookedUpAt });
  }

  mmuLocked(thread: WatchedThread, _mode: number, site: number): void {
    if (site === Site.kvm_zap_gfn_range) this.#zapping[thread.id] = ++this.#zaps;
  }

  /** What the zap was asked to zap: told by whoever runs it. */
  zaps(thread: WatchedThread, first: number, end: number): void {
    this.#zapped[thread.id] = [first, end];
  }

  operationDone(thread: WatchedThread, op: string): void {
    const began = this.#zapping[thread.id] ?? 0;
    if (op !== 'zaprange' || began === 0) return;
    const [first, end] = this.#zapped[thread.id];
    this.#zapping[thread.id] = 0;
    for (const { gfn, end: last, lookedUpAt } of this.#installed) {
      if (gfn >= end || last <= first || lookedUpAt >= began) continue;
      if (!this.#isMapped(thread, gfn)) continue;
      breakRule('stale-after-zap', `gfn ${hex(gfn)} is mapped after its range was zapped, by a fault that looked before the zap`);
    }
  }

  #isMapped({ vm }: WatchedThread, gfn: number): boolean {
    const { kvm } = vm;
    // Any root will do: scenarios that zap ranges have one.
    const root = kvm.memory.load32(own(kvm.word(KvmWord.roots)));
    let page = root;
    for (let level = kvm.geometry.rootLevel; level >= 1 && page > 0 && page < kvm.allocator.pages; level--) {
      const spte = kvm.memory.load64(own(kvm.pages.sptep(page, kvm.geometry.index(gfn as Gfn, level))));
      if (!isShadowPresent(spte)) return false;
      if (isLastSpte(spte, level)) return true;
      page = spte.lo >>> 12;
    }
    return false;
  }

  mmuUnlocked(thread: WatchedThread, _mode: number, site: number): void {
    const fault = thread.vcpu?.mmu.fault;
    if (site !== Site.kvm_tdp_page_fault || fault?.retryReason !== RetryReason.staleRange) return;
    if (!inWindow(thread.vm, fault.gfn)) refuse(thread, fault.gfn);
  }

  pageFaultDone(thread: WatchedThread, gfn: Gfn, result: number): void {
    this.#doomed[thread.id] = -1;
    const fault = thread.vcpu?.mmu.fault;
    if (result !== RetPf.retry || fault?.retryReason !== RetryReason.unlockedInvalidate) return;
    const { kvm } = thread.vm;
    const word = (index: number): number => kvm.memory.load32(own(kvm.word(index)));
    // An invalidation that ended moved the sequence, and then the fault had reason enough.
    if (word(KvmWord.invalidateSeq) !== fault.mmuSeq || word(KvmWord.invalidateInProgress) === 0) return;
    // Without mmu_lock the hull may be read while it is written: now and then, but not again and again.
    if (inWindow(thread.vm, gfn)) this.#refused[thread.id] = 0;
    else if ((this.#refused[thread.id] = (this.#refused[thread.id] ?? 0) + 1) > UNLOCKED_ERRORS) refuse(thread, gfn);
  }
}

const sequence = ({ kvm }: Vm): number => kvm.memory.load32(own(kvm.word(KvmWord.invalidateSeq)));
const open = ({ kvm }: Vm): boolean => kvm.memory.load32(own(kvm.word(KvmWord.invalidateInProgress))) !== 0;

/** Whether `gfn` lies in the hull of the open invalidations. */
function inWindow({ kvm }: Vm, gfn: number): boolean {
  const at = (index: number): number => {
    const { lo, hi } = kvm.memory.load64(own(kvm.word(index)));
    return hi * 2 ** 32 + (lo >>> 0);
  };
  return gfn >= at(KvmWord.invalidateStart) && gfn < at(KvmWord.invalidateEnd);
}

function refuse(thread: WatchedThread, gfn: number): never {
  breakRule('retry-for-others', `${thread.name} retries its fault on gfn ${hex(gfn)}, which nobody invalidates`);
}
