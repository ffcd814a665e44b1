/**
 * Faults put into the single source, one at a time, to see whether the oracles and scenarios notice: each breaks one rule of the
 * protocol. They are none of the historical bugs, and no oracle was written with one of them in mind.
 *
 * A mutant is a place and what stands there instead. The place must occur once in its file: a test sees to that, so that the list
 * does not rot.
 */
export interface Mutant {
  /** In kebab case. */
  readonly id: string;
  /** Below `src`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** Why nobody can tell the mutant from the original by what it does, where that is so. */
  readonly equivalent?: string;
}

const SET = 'mmu/set-spte.ts';
const ZAP_LEAFS = 'mmu/zap-leafs.ts';
const PROTECT = 'mmu/write-protect.ts';
const MAP = 'mmu/map.ts';
const FAST = 'mmu/fast-page-fault.ts';
const LOG = 'vm/dirty-log.ts';

export const MUTANTS: readonly Mutant[] = [
  // Flushes: dropped, too early, of the wrong range, forgotten at a yield.
  {
    id: 'zap-range-no-flush',
    file: ZAP_LEAFS,
    find: '  if (flush) yield* kvmFlushRemoteTlbs(kvm);\n  if (window)',
    replace: '  if (window)',
  },
  {
    id: 'zap-range-flush-after-unlock',
    file: ZAP_LEAFS,
    find: '  if (flush) yield* kvmFlushRemoteTlbs(kvm);\n  if (window) yield* mmuInvalidateEnd(kvm);\n  yield* mmuWriteUnlock(kvm);',
    replace:
      '  if (window) yield* mmuInvalidateEnd(kvm);\n  yield* mmuWriteUnlock(kvm);\n  if (flush) yield* kvmFlushRemoteTlbs(kvm);',
  },
  {
    id: 'zap-range-flush-of-last-root-only',
    file: ZAP_LEAFS,
    find: 'flush = yield* tdpMmuZapLeafs(kvm, root, start, end, true, flush);',
    replace: 'flush = yield* tdpMmuZapLeafs(kvm, root, start, end, true, false);',
  },
  {
    id: 'unmap-flush-of-last-root-only',
    file: ZAP_LEAFS,
    find: 'owed = yield* tdpMmuZapLeafs(kvm, root, start, end, mayBlock, owed);',
    replace: 'owed = yield* tdpMmuZapLeafs(kvm, root, start, end, mayBlock, false);',
  },
  {
    id: 'zap-leafs-owes-nothing',
    file: ZAP_LEAFS,
    find: 'if (!(yield* rootIsInvalid(kvm, root))) owed = true;',
    replace: 'if (yield* rootIsInvalid(kvm, root)) owed = true;',
  },
  {
    id: 'zap-leafs-yield-without-flush',
    file: ZAP_LEAFS,
    find: 'if (!late && canYield && (yield* tdpMmuIterCondResched(kvm, iter, owed, false))) {',
    replace: 'if (!late && canYield && (yield* tdpMmuIterCondResched(kvm, iter, false, false))) {',
  },
  {
    id: 'zap-leafs-no-continue-after-yield',
    file: ZAP_LEAFS,
    find: '    if (!late && canYield && (yield* tdpMmuIterCondResched(kvm, iter, owed, false))) {\n      owed = false;\n      continue;\n    }',
    replace: '    if (!late && canYield && (yield* tdpMmuIterCondResched(kvm, iter, owed, false))) owed = false;',
  },
  {
    id: 'zap-leafs-misses-last-gfn',
    file: ZAP_LEAFS,
    find: 'yield* tdpIterStart(kvm, iter, root, PG_LEVEL_4K, start);\n  for (; iter.inside(end);',
    replace: 'yield* tdpIterStart(kvm, iter, root, PG_LEVEL_4K, start);\n  for (; iter.inside((end - 1) as Gfn);',
  },
  {
    id: 'zap-range-window-of-half-the-range',
    file: ZAP_LEAFS,
    find: 'yield* mmuInvalidateRangeAdd(kvm, start, end);',
    replace: 'yield* mmuInvalidateRangeAdd(kvm, start, (start + 1) as Gfn);',
    equivalent:
      'the range is only looked at while the window is open, and mmu_lock is held for write all that time, yields aside',
  },
  {
    id: 'zap-range-window-never-ends-a-sequence',
    file: 'mmu/invalidate.ts',
    find: '  kvm.memory.store32(yield write(seq), next);\n  kvm.memory.store32(yield write(word), open - 1);\n}',
    replace: '  kvm.memory.store32(yield write(word), open - 1);\n}',
  },
  {
    id: 'atomic-zap-flushes-before-the-freeze',
    file: SET,
    find: '  if (!(yield* tryCmpxchgSpte(kvm, iter, spte.frozen, UpdateKind.zap))) return false;',
    replace:
      '  yield* kvmFlushRemoteTlbsRange(kvm, iter.gfn, geometry.span(iter.level));\n  if (!(yield* tryCmpxchgSpte(kvm, iter, spte.frozen, UpdateKind.zap))) return false;\n  kvm.trace?.spteFrozen(iter.sptep, iter.gfn, iter.level);\n  yield* writeSptePlain(kvm, iter.sptep, spte.nonpresent);\n  kvm.trace?.spteThawed(iter.sptep);\n  yield* handleChangedSpte(kvm, iter.asId, iter.gfn, old, spte.nonpresent, iter.level, true);\n  if (old !== spte.frozen) return true;',
  },
  {
    id: 'atomic-zap-thaws-before-the-flush',
    file: SET,
    find: '  if (isLastSpte(old, iter.level)) yield* kvmFlushRemoteTlbsRange(kvm, iter.gfn, geometry.span(iter.level));\n  else yield* kvmFlushRemovedTable(kvm, iter.gfn, iter.level);\n  yield* writeSptePlain(kvm, iter.sptep, spte.nonpresent);',
    replace:
      '  yield* writeSptePlain(kvm, iter.sptep, spte.nonpresent);\n  if (isLastSpte(old, iter.level)) yield* kvmFlushRemoteTlbsRange(kvm, iter.gfn, geometry.span(iter.level));\n  else yield* kvmFlushRemovedTable(kvm, iter.gfn, iter.level);',
  },
  {
    id: 'atomic-zap-without-flush',
    file: SET,
    find: '  else yield* kvmFlushRemovedTable(kvm, iter.gfn, iter.level);\n  yield* writeSptePlain',
    replace: '  yield* writeSptePlain',
  },
  {
    id: 'leaf-over-table-without-flush',
    file: MAP,
    find: '      yield* kvmFlushRemovedTable(kvm, iter.gfn, iter.level);\n',
    replace: '',
  },
  {
    id: 'flush-misses-the-last-vcpu',
    file: 'machine/tlb-shootdown.ts',
    find: 'for (let vcpu = 0; vcpu < req.vcpus; vcpu++) {',
    replace: 'for (let vcpu = 0; vcpu < Math.max(1, req.vcpus - 1); vcpu++) {',
  },
  {
    id: 'flush-does-not-wait',
    file: 'mmu/flush.ts',
    find: 'yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.tlbFlush, { wait: true });',
    replace: 'yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.tlbFlush, { wait: false });',
  },
  {
    id: 'flush-asks-after-the-kick',
    file: 'machine/tlb-shootdown.ts',
    find: 'if (memory.load32(yield read(req.requests(vcpu))) === 0) return true;\n  thread.counters[Counter.entriesBackedOut]++;',
    replace: 'if (vcpu >= 0) return true;\n  thread.counters[Counter.entriesBackedOut]++;',
  },
  {
    id: 'nx-recovery-no-flush-at-the-end',
    file: 'mmu/nx-recovery.ts',
    find: '  if (flush) yield* kvmFlushRemoteTlbs(kvm);\n  yield* rcuReadUnlock(kvm.rcu, kvm.thread);\n  yield* mmuWriteUnlock(kvm);\n  yield* srcuReadUnlock',
    replace: '  yield* rcuReadUnlock(kvm.rcu, kvm.thread);\n  yield* mmuWriteUnlock(kvm);\n  yield* srcuReadUnlock',
  },
  {
    id: 'nx-recovery-flush-after-rcu',
    file: 'mmu/nx-recovery.ts',
    find: '  if (flush) yield* kvmFlushRemoteTlbs(kvm);\n  yield* rcuReadUnlock(kvm.rcu, kvm.thread);\n  yield* mmuWriteUnlock(kvm);\n  yield* srcuReadUnlock',
    replace:
      '  yield* rcuReadUnlock(kvm.rcu, kvm.thread);\n  if (flush) yield* kvmFlushRemoteTlbs(kvm);\n  yield* mmuWriteUnlock(kvm);\n  yield* srcuReadUnlock',
  },
  {
    id: 'in-place-collapse-without-flush',
    file: 'mmu/collapse.ts',
    find: '      kvm.counters[MmuCounter.collapses]++;\n      flush = true;\n',
    replace: '      kvm.counters[MmuCounter.collapses]++;\n',
  },
  {
    id: 'in-place-collapse-flush-after-rcu',
    file: 'mmu/collapse.ts',
    find: '  if (flush) yield* kvmFlushRemoteTlbs(kvm);\n  yield* rcuReadUnlock(kvm.rcu, kvm.thread);\n}\n\n/**\n * The huge leaf made',
    replace:
      '  yield* rcuReadUnlock(kvm.rcu, kvm.thread);\n  if (flush) yield* kvmFlushRemoteTlbs(kvm);\n}\n\n/**\n * The huge leaf made',
  },
  {
    id: 'write-tracking-says-nothing-changed',
    file: PROTECT,
    find: "    changed ||= wasWritable || kvm.bugs['mmu-writable-cleared-without-flush'] !== true;",
    replace: "    changed ||= !wasWritable && kvm.bugs['mmu-writable-cleared-without-flush'] !== true;",
  },

  // Stale tests, and what a fault looks up when.
  {
    id: 'no-stale-range-test',
    file: 'mmu/page-fault.ts',
    find: '  return yield* staleRange(kvm, fault);',
    replace: '  return RetryReason.none;',
  },
  {
    id: 'stale-test-of-sequence-only',
    file: 'mmu/invalidate.ts',
    find: 'if (gfn >= start && gfn < end) return InvalidateRetry.inRange;',
    replace: '',
  },
  {
    id: 'stale-test-of-range-only',
    file: 'mmu/invalidate.ts',
    find: 'return (yield* mmuInvalidateSeq(kvm)) === seq ? InvalidateRetry.no : InvalidateRetry.seqMoved;',
    replace: 'return InvalidateRetry.no;',
  },
  {
    id: 'range-hull-takes-the-latest',
    file: 'mmu/invalidate.ts',
    find: 'yield* writeGfn(kvm, last, empty ? end : asGfn(Math.max(oldEnd, end)));',
    replace: 'yield* writeGfn(kvm, last, end);',
  },
  {
    id: 'sequence-read-after-the-look-up',
    file: 'mmu/faultin.ts',
    find: '  if ((slot.flags & SlotFlag.readonly) !== 0) fault.mapWritable = false;\n',
    replace:
      '  if ((slot.flags & SlotFlag.readonly) !== 0) fault.mapWritable = false;\n  fault.mmuSeq = yield* mmuInvalidateSeq(kvm);\n',
  },
  {
    id: 'invalidate-count-not-kept',
    file: 'mmu/invalidate.ts',
    find: '  kvm.memory.store32(yield write(word), open);\n  if (open !== 1) return;',
    replace: '  kvm.memory.store32(yield write(word), 1);\n  if (open !== 1) return;',
  },
  {
    id: 'stale-test-without-root',
    file: 'mmu/page-fault.ts',
    find: "if (roleInvalid(role) && kvm.bugs['fault-installs-into-invalidated-root'] !== true) return RetryReason.staleRoot;",
    replace: '',
  },

  // Exchanges: plain stores, lost ones ignored.
  {
    id: 'failed-exchange-ignored',
    file: SET,
    find: 'if (!(yield* tryCmpxchgSpte(kvm, iter, next, kind))) return false;\n  yield* handleChangedSpte',
    replace: 'yield* tryCmpxchgSpte(kvm, iter, next, kind);\n  yield* handleChangedSpte',
  },
  {
    id: 'plain-store-under-the-read-lock',
    file: SET,
    find: '  if (!(yield* tryCmpxchgSpte(kvm, iter, next, kind))) return false;\n  yield* handleChangedSpte(kvm, iter.asId, iter.gfn, old, next, iter.level, true);',
    replace:
      '  yield* writeSptePlain(kvm, iter.sptep, next);\n  yield* handleChangedSpte(kvm, iter.asId, iter.gfn, old, next, iter.level, true);',
  },
  {
    id: 'lost-exchange-keeps-the-old-value',
    file: SET,
    find: '  iter.oldSpte = seen;\n  return false;',
    replace: '  return false;',
  },
  {
    id: 'fast-fault-stores-plainly',
    file: FAST,
    find: '  if (kvm.memory.cmpxchg64(yield rmw(sptep), old, next) !== old) {',
    replace: '  kvm.memory.xchg64(yield rmw(sptep), next);\n  if (old === next) {',
  },
  {
    id: 'clear-bits-returns-what-was-read',
    file: 'mmu/write-spte.ts',
    find: '    return kvm.memory.xchg64(yield rmw(sptep), next);\n  }',
    replace: '    kvm.memory.xchg64(yield rmw(sptep), next);\n    return old;\n  }',
  },
  {
    id: 'volatile-without-dirty',
    file: 'mmu/write-spte.ts',
    find: '  return isShadowPresentLeaf(spte, level) && kvm.spte.isVolatile(spte);',
    replace: '  return isShadowPresentLeaf(spte, level) && (spte.lo & 2) === 0 && kvm.spte.isVolatile(spte);',
  },
  {
    id: 'children-not-frozen',
    file: SET,
    find: '      old = yield* freezeRemoved(kvm, sptep);',
    replace: '      old = yield* readSpte(kvm, sptep);',
  },
  {
    id: 'children-frozen-over-a-freeze',
    file: SET,
    find: '    if (!kvm.spte.isFrozen(old)) return old;',
    replace: '    if (old !== undefined) return old;',
  },
  {
    id: 'fault-installs-over-anything',
    file: MAP,
    find: "if (kvm.spte.isFrozen(iter.oldSpte) && bugs['install-over-frozen'] !== true) {",
    replace: 'if (false as boolean) {',
  },

  // RCU and freeing.
  {
    id: 'table-freed-at-once-by-the-reader',
    file: SET,
    find: '  else yield* callRcu(kvm.rcu, kvm.thread, page);\n}',
    replace:
      '  else if (shared) yield* freePage(kvm.allocator, kvm.thread, page, PageState.live);\n  else yield* callRcu(kvm.rcu, kvm.thread, page);\n}',
  },
  {
    id: 'grace-period-waits-for-nobody',
    file: 'machine/rcu.ts',
    find: 'export function* rcuReadLock(_rcu: Rcu, thread: Thread): Task<void> {\n  if (thread.rcuNesting++ > 0) return;\n',
    replace:
      'export function* rcuReadLock(_rcu: Rcu, thread: Thread): Task<void> {\n  if (thread.rcuNesting++ > 0) return;\n  thread.rcuSequence++;\n',
  },
  {
    id: 'removed-table-leaks',
    file: SET,
    find: '  else yield* callRcu(kvm.rcu, kvm.thread, page);\n}',
    replace: '}',
  },
  {
    id: 'spare-table-leaks',
    file: 'mmu/eager-split.ts',
    find: '  if (spare !== 0) yield* freePage(kvm.allocator, kvm.thread, spare, PageState.cached);\n',
    replace: '',
  },
  {
    id: 'unlinked-table-not-returned',
    file: MAP,
    find: '    returnToCache(vcpu.pageCache, kvm.allocator, kvm.thread, page);\n',
    replace: '',
  },
  {
    id: 'dead-root-leaks',
    file: 'mmu/roots.ts',
    find: '  yield* callRcu(kvm.rcu, kvm.thread, root);\n}',
    replace: '}',
  },

  // The dirty log.
  {
    id: 'fault-does-not-mark',
    file: MAP,
    find: '    if (isWritable(next) && slotLogsDirty(slot)) yield* markPageDirtyInSlot(kvm, slot, iter.gfn);\n',
    replace: '',
  },
  {
    id: 'fast-fault-does-not-mark',
    file: FAST,
    find: '  if (gainsWrite && !early) yield* markPageDirtyInSlot(kvm, fault.slot as never, fault.gfn);\n',
    replace: '',
  },
  {
    id: 'get-protects-before-it-takes',
    file: LOG,
    find: '    const mask = memory.xchg64(yield rmw(word), ZERO64);\n    memory.store64(own((scratch + i) as Address), mask);\n    yield* kvmArchMmuEnableLogDirtyPtMasked(kvm, slot, 32 * i, mask);',
    replace:
      '    yield* kvmArchMmuEnableLogDirtyPtMasked(kvm, slot, 32 * i, seen);\n    const mask = memory.xchg64(yield rmw(word), ZERO64);\n    memory.store64(own((scratch + i) as Address), mask);',
  },
  {
    id: 'get-protects-nothing',
    file: LOG,
    find: '    yield* kvmArchMmuEnableLogDirtyPtMasked(kvm, slot, 32 * i, mask);\n',
    replace: '',
  },
  {
    id: 'clear-protects-nothing',
    file: LOG,
    find: '    yield* kvmArchMmuEnableLogDirtyPtMasked(kvm, slot, offset, mask);\n',
    replace: '',
  },
  {
    id: 'clear-takes-all-bits',
    file: LOG,
    find: 'new Word64(~wanted.lo, ~wanted.hi));',
    replace: 'ZERO64);',
  },
  {
    id: 'harvest-clears-the-wrong-page',
    file: PROTECT,
    find: '    const i = iter.gfn - gfn;\n',
    replace: '    const i = iter.gfn - gfn + 1;\n',
  },
  {
    id: 'harvest-keeps-the-bit',
    file: PROTECT,
    find: '    iter.oldSpte = yield* clearSpteBits(kvm, iter.sptep, iter.oldSpte, bit, iter.level);\n',
    replace: '',
  },
  {
    id: 'harvest-does-not-report-to-the-host',
    file: PROTECT,
    find: '    kvm.host.setPageDirty(kvm, sptePfn(iter.oldSpte));\n',
    replace: '',
  },
  {
    id: 'enabling-protects-by-d',
    file: PROTECT,
    find: 'clearInSlot(kvm, root, slot, minLevel, WRITABLE_BIT, MmuCounter.write_protected)',
    replace: 'clearInSlot(kvm, root, slot, minLevel, kvm.spte.dirty, MmuCounter.write_protected)',
  },
  {
    id: 'enabling-stops-at-a-lost-exchange',
    file: PROTECT,
    find: '        kvm.counters[counter]++;\n        changed = true;\n        break;\n      }\n    }',
    replace: '        kvm.counters[counter]++;\n        changed = true;\n      }\n      break;\n    }',
  },
  {
    id: 'enabling-does-not-flush',
    file: 'vm/apply-slot-flags.ts',
    find: '  if (always || changed) yield* kvmArchFlushRemoteTlbsMemslot(kvm, slot);\n',
    replace: '',
  },
  {
    id: 'enabling-with-pml-forgets-huge-pages',
    file: 'vm/apply-slot-flags.ts',
    find: '    if (yield* kvmMmuSlotRemoveWriteAccess(kvm, slot, PG_LEVEL_2M)) changed = true;\n',
    replace: '',
  },
  {
    id: 'pml-not-drained',
    file: LOG,
    find: 'if (kvm.params.pml) yield* makeAllVcpusRequest(kvm.requests, kvm.thread, Request.outsideGuestMode, { wait: false });',
    replace: '',
  },
  {
    id: 'write-protect-keeps-mmu-writable',
    file: PROTECT,
    find: 'const both = or64(WRITABLE_BIT, kvm.spte.mmuWritable);',
    replace: 'const both = or64(WRITABLE_BIT, WRITABLE_BIT);',
  },
  {
    id: 'huge-page-while-logging',
    file: MAP,
    find: '  if (slotLogsDirty(slot)) return;\n  let level',
    replace: '  let level',
  },
  {
    id: 'dirty-page-not-handed-over',
    file: SET,
    find: '    kvm.host.setPageDirty(kvm, sptePfn(old));\n',
    replace: '',
  },

  // Walks and yields.
  {
    id: 'step-down-without-a-second-look',
    file: 'mmu/tdp-iter.ts',
    find: '  iter.oldSpte = kvm.memory.load64(yield read(iter.sptep));\n  if (!isTableLo',
    replace: '  if (!isTableLo',
    equivalent: 'the exchange that follows goes against what was read, and tables stay readable for the RCU section',
  },
  {
    id: 'restart-goes-to-the-start',
    file: 'mmu/tdp-iter.ts',
    find: "  if (kvm.bugs['iter-skip-breaks-iterator-state'] !== true || n === 1) iter.goal = iter.gfn;",
    replace: '',
  },
  {
    id: 'step-side-misses-the-last-entry',
    file: 'mmu/tdp-iter.ts',
    find: '  const last = kvm.geometry.entries - 1;\n',
    replace: '  const last = kvm.geometry.entries - 2;\n',
  },
  {
    id: 'yield-keeps-rcu',
    file: 'mmu/tdp-iter-resched.ts',
    find: '  yield* rcuReadUnlock(kvm.rcu, kvm.thread);\n  if (flush && late)',
    replace: '  if (flush && late)',
  },
  {
    id: 'yield-takes-the-lock-for-write',
    file: 'mmu/tdp-iter-resched.ts',
    find: '  yield* mmuLock(kvm, shared, Site.tdp_mmu_iter_cond_resched);',
    replace: '  yield* mmuLock(kvm, false, Site.tdp_mmu_iter_cond_resched);',
  },
  {
    id: 'yield-does-not-restart',
    file: 'mmu/tdp-iter-resched.ts',
    find: '  iter.yielded = true;\n  if (bugs',
    replace: '  if (bugs',
  },
  {
    id: 'never-yields',
    file: 'mmu/tdp-iter-resched.ts',
    find: '  if (!progressed) return false;\n\n',
    replace: '  if (progressed) return false;\n\n',
  },

  // Roots.
  {
    id: 'get-revives-a-dead-root',
    file: 'mmu/roots.ts',
    find: '  while (seen !== 0) {',
    replace: '  while (seen !== -1) {',
  },
  {
    id: 'left-walk-keeps-its-root',
    file: 'mmu/eager-split.ts',
    find: '    yield* kvmTdpMmuPutRoot(kvm, root);\n    return error;',
    replace: '    return error;',
  },
  {
    id: 'zapped-root-keeps-its-reference',
    file: 'mmu/zap-root.ts',
    find: '      // Put after the zap: until then notifiers must find the root.\n      yield* kvmTdpMmuPutRoot(kvm, root);\n',
    replace: '',
  },
  {
    id: 'root-not-unlinked',
    file: 'mmu/roots.ts',
    find: '  memory.store32(yield write(link), next);\n}\n\nfunction* rootAfter',
    replace: '}\n\nfunction* rootAfter',
  },
  {
    id: 'invalidated-root-not-scheduled',
    file: 'mmu/zap-root.ts',
    find: '      else memory.store32(yield write(pages.word(root, PageHeader.scheduledRootToZap)), 1);',
    replace: '      else memory.store32(yield write(pages.word(root, PageHeader.scheduledRootToZap)), 0);',
  },
  {
    id: 'zapped-by-everybody',
    file: 'mmu/zap-root.ts',
    find: '    memory.store32(yield write(scheduled), 0);\n',
    replace: '',
  },
  {
    id: 'notifier-walks-valid-roots-only',
    file: ZAP_LEAFS,
    find: 'RootTypes.valid : RootTypes.all;',
    replace: 'RootTypes.valid : RootTypes.valid;',
  },
  {
    id: 'one-of-two-address-spaces',
    file: ZAP_LEAFS,
    find: 'for (let root = yield* nextRoot(kvm, 0, valid, ANY_AS); root !== 0; root = yield* nextRoot(kvm, root, valid, ANY_AS)) {',
    replace: 'for (let root = yield* nextRoot(kvm, 0, valid, 0); root !== 0; root = yield* nextRoot(kvm, root, valid, 0)) {',
  },

  // Pages, levels and rights.
  {
    id: 'split-children-map-one-page',
    file: 'mmu/split.ts',
    find: 'kvm.spte.makeSplitChild(huge, level, i * span, exec)',
    replace: 'kvm.spte.makeSplitChild(huge, level, 0, exec)',
  },
  {
    id: 'split-children-off-by-one',
    file: 'mmu/split.ts',
    find: 'kvm.spte.makeSplitChild(huge, level, i * span, exec)',
    replace: 'kvm.spte.makeSplitChild(huge, level, (i + 1) * span, exec)',
  },
  {
    id: 'split-pages-not-counted',
    file: 'mmu/split.ts',
    find: '  if (done) yield* addVmStat(kvm, pagesStat(level - 1), geometry.entries);\n',
    replace: '',
  },
  {
    id: 'child-role-of-the-parent',
    file: 'mmu/link-sp.ts',
    find: 'initSp(kvm, page, childRole(parent), iter.gfn, iter.sptep);',
    replace: 'initSp(kvm, page, parent, iter.gfn, iter.sptep);',
  },
  {
    id: 'child-without-its-parent-entry',
    file: 'mmu/link-sp.ts',
    find: 'initSp(kvm, page, childRole(parent), iter.gfn, iter.sptep);',
    replace: 'initSp(kvm, page, childRole(parent), iter.gfn, 0);',
  },
  {
    id: 'tables-not-counted-down',
    file: 'mmu/nx-huge-pages.ts',
    find: '  yield* addVmStat(kvm, VmStat.tdpMmuPages, -1);\n',
    replace: '',
  },
  {
    id: 'nx-table-stays-on-the-list',
    file: 'mmu/nx-huge-pages.ts',
    find: '  kvm.memory.store32(yield write(kvm.pages.word(page, PageHeader.nxHugePageDisallowed)), 0);\n  yield* untrackPossibleNxHugePage(kvm, page);',
    replace: '  kvm.memory.store32(yield write(kvm.pages.word(page, PageHeader.nxHugePageDisallowed)), 0);',
  },
  {
    id: 'nx-table-tracked-without-lock',
    file: 'mmu/nx-huge-pages.ts',
    find: '  yield* spinLock(kvm.pagesLock, kvm.thread, Site.tdp_mmu_unlink_sp);\n  yield* clearNxHugePageDisallowed(kvm, page);\n  yield* spinUnlock(kvm.pagesLock, kvm.thread);',
    replace: '  yield* clearNxHugePageDisallowed(kvm, page);',
  },
  {
    id: 'huge-page-beyond-the-host-page',
    file: MAP,
    find: 'fault.reqLevel = Math.min(level, yield* kvm.host.mappingLevel(kvm, slot, fault.gfn));',
    replace: 'fault.reqLevel = level;',
  },
  {
    id: 'huge-page-not-aligned',
    file: MAP,
    find: '  fault.pfn = (Math.floor(fault.pfn / span) * span) as Pfn;\n}',
    replace: '  if (span < 0) fault.goalLevel = PG_LEVEL_4K;\n}',
  },
  {
    id: 'writable-over-a-read-only-host-page',
    file: MAP,
    find: '      hostWritable: fault.mapWritable,',
    replace: '      hostWritable: true,',
  },
  {
    id: 'write-tracked-page-made-writable',
    file: MAP,
    find: '    writeTracked = yield* gfnIsWriteTracked(kvm, fault.gfn);\n',
    replace: '',
  },

  // Memslots, SRCU and locks.
  {
    id: 'swap-without-srcu',
    file: 'vm/memslots.ts',
    find: "  if (wait === 'readers') yield* synchronizeSrcu(kvm.srcu, thread);\n",
    replace: '',
  },
  {
    id: 'swap-does-not-wait-for-notifiers',
    file: 'vm/memslots.ts',
    find: '  while (memory.load32(own(active)) !== 0) {\n',
    replace: '  while (memory.load32(own(active)) < 0) {\n',
  },
  {
    id: 'srcu-waits-for-one-index-only',
    file: 'machine/srcu.ts',
    find: '  yield* drain(srcu, thread, active);\n',
    replace: '',
  },
  {
    id: 'map-after-unlock',
    file: 'mmu/page-fault.ts',
    find: '  const stale = yield* pageFaultStaleReason(kvm, vcpu, fault);\n  let result',
    replace:
      '  const stale = yield* pageFaultStaleReason(kvm, vcpu, fault);\n  yield* mmuReadUnlock(kvm);\n  yield* mmuReadLock(kvm, Site.kvm_tdp_page_fault);\n  let result',
  },
  {
    id: 'harvest-without-mmu-lock-at-its-end',
    file: LOG,
    find: '  yield* mmuUnlock(kvm, shared);\n  yield* finishHarvest(kvm, harvested);\n  const copy',
    replace: '  yield* finishHarvest(kvm, harvested);\n  yield* mmuUnlock(kvm, shared);\n  const copy',
    equivalent: 'a flush under mmu_lock is as good as one behind it, and only costs the faults that wait',
  },
  {
    id: 'rwlock-reader-ignores-a-writer',
    file: 'machine/rwlock.ts',
    find: '  memory.add32(yield whole.share(lock.base, RwLockBit.locked), RwLockBit.reader);',
    replace: '  memory.add32(yield whole.share(lock.base, 0), RwLockBit.reader);',
  },
];
