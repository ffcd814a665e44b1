/** What processors cache that the tables no longer say, and that no pending flush will make them forget. */
import { own } from '../machine/point.ts';
import { Request, VcpuMode } from '../machine/tlb-shootdown.ts';
import { type Kvm, KvmWord } from '../mmu/kvm.ts';
import { asGfn, type Gfn, type Level } from '../mmu/level.ts';
import { PageHeader, roleInvalid } from '../mmu/mmu-page.ts';
import { isShadowPresent, isTableLo, type Spte, sptePfn, tablePageLo } from '../mmu/spte.ts';
import { pwcEntries } from '../vm/paging-structure-cache.ts';
import { type TlbEntry, tlbEntries } from '../vm/tlb.ts';
import type { Vcpu } from '../vm/vcpu.ts';

export interface Leaf {
  readonly spte: Spte;
  readonly level: Level;
}

/** The leaf that maps `gfn` below `root`, or null. */
export const leafAt = ({ kvm }: Vcpu, root: number, gfn: Gfn): Leaf | null => leafBelow(kvm, root, gfn);

export function leafBelow(kvm: Kvm, root: number, gfn: Gfn): Leaf | null {
  const { geometry, pages, allocator, memory } = kvm;
  let page = root;
  for (let level = geometry.rootLevel; level >= 1; level--) {
    const sptep = pages.sptep(page, geometry.index(gfn, level));
    const lo = memory.load32(own(sptep));
    if (!isTableLo(lo, level)) {
      const spte = memory.load64(own(sptep));
      return isShadowPresent(spte) ? { spte, level } : null;
    }
    page = tablePageLo(lo);
    if (page <= 0 || page >= allocator.pages) return null;
  }
  return null;
}

/** Whether the vCPU will forget everything before its guest runs on. */
function flushPending(vcpu: Vcpu): boolean {
  const { memory, requests, kvm, walker } = vcpu;
  if (walker.root === 0 || vcpu.flushOnEntry) return true;
  const pending = memory.load32(own(requests.requests(vcpu.id)));
  if ((pending & (1 << Request.tlbFlush)) !== 0) return true;
  // Outside the guest the request may have been taken, and the root be about to be dropped.
  const outside = memory.load32(own(requests.mode(vcpu.id))) === VcpuMode.outsideGuest;
  if ((pending & (1 << Request.freeObsoleteRoots)) === 0 && !outside) return false;
  return roleInvalid(memory.load32(own(kvm.pages.word(walker.root, PageHeader.role))));
}

/** Whether a flush by range will make the vCPU forget `gfn`. */
function rangePending({ memory, requests, kvm, id }: Vcpu, gfn: number): boolean {
  if ((memory.load32(own(requests.requests(id))) & (1 << Request.tlbFlushRange)) === 0) return false;
  const bound = (index: number): number => memory.load32(own(kvm.word(index)));
  return gfn >= bound(KvmWord.flushStart) && gfn < bound(KvmWord.flushEnd);
}

/** What the TLB of a vCPU wrongly has for a page of [first, end), or null. */
export interface StaleEntry {
  readonly vcpu: Vcpu;
  readonly entry: TlbEntry;
  readonly gfn: Gfn;
}

/** Which entries {@link findStale} looks for: such as their SPTEs no longer give, any at all, or any that allow writes. */
export type StaleKind = 'outdated' | 'any' | 'writable';

/** A translation of a page of [first, end) in some TLB that is of the kind wanted. */
export function findStale(vcpus: readonly Vcpu[], first: number, end: number, kind: StaleKind): StaleEntry | null {
  for (const vcpu of vcpus) {
    if (flushPending(vcpu)) continue;
    const { geometry } = vcpu.kvm;
    for (const entry of tlbEntries(vcpu.memory, geometry, vcpu.area)) {
      if (entry.root !== vcpu.walker.root) continue;
      const from = Math.max(entry.gfn, first);
      const to = Math.min(entry.gfn + geometry.span(entry.level), end);
      for (let gfn = asGfn(from); gfn < to; gfn++) {
        if (rangePending(vcpu, gfn)) continue;
        if (kind === 'any' || (kind === 'writable' ? entry.writable : !mapsSame(vcpu, entry, gfn))) return { vcpu, entry, gfn };
      }
    }
  }
  return null;
}

function mapsSame(vcpu: Vcpu, entry: TlbEntry, gfn: Gfn): boolean {
  const leaf = leafAt(vcpu, entry.root, gfn);
  if (leaf === null) return false;
  const { geometry } = vcpu.kvm;
  return sptePfn(leaf.spte) + (gfn - geometry.round(gfn, leaf.level)) === entry.pfn + (gfn - entry.gfn);
}

/** A vCPU that has page-table page `page` in its paging-structure cache for the root in use, or null. */
export function findCachedTable(vcpus: readonly Vcpu[], page: number): Vcpu | null {
  for (const vcpu of vcpus) {
    if (flushPending(vcpu)) continue;
    const { memory, kvm, area, walker } = vcpu;
    if (pwcEntries(memory, kvm.geometry, area).some(({ root, table }) => root === walker.root && table === page)) return vcpu;
  }
  return null;
}
