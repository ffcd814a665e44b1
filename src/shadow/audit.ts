/**
 * Whether the structures of the rmap-based MMU agree with each other, for checks of a VM that holds still: plain reads of the
 * arena, no locks, no writes.
 *
 * The tables are the truth. Each present leaf must be in the reverse map of its gfn once, and each link in its child's list of
 * parents; nothing else may be in either. Each page must be on the list of active pages, and a valid one in the hash.
 */
import type { Memory } from '../machine/memory.ts';
import { type Address, own } from '../machine/point.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { asGfn, type Level, MAX_HUGEPAGE_LEVEL, PG_LEVEL_4K } from '../mmu/level.ts';
import { type Memslot, slotContains } from '../mmu/memslot.ts';
import { PageHeader, roleAsId, roleInvalid } from '../mmu/mmu-page.ts';
import { isLastSpte, isShadowPresent, spteToChildPage } from '../mmu/spte.ts';
import { pagesStat, VmStat, vmStat } from '../mmu/vm-stat.ts';
import { rmapHead, rmapHeads } from './drop-spte.ts';
import { PTE_DESC_SPTES, RMAP_HEAD_WORDS, ShadowHeader, type ShadowLayout, ShadowWord } from './shadow-layout.ts';

/** What is wrong, and where as far as it is one word's matter. */
export interface AuditFinding {
  /** In kebab case. */
  readonly rule: string;
  readonly message: string;
  readonly page?: number;
  readonly word?: Address;
}

/** The pages of active_mmu_pages, newest first: all that are in use. A list that comes back ends there. */
export function activePages(kvm: Kvm, layout: ShadowLayout): readonly number[] {
  const pages: number[] = [];
  const seen = new Set<number>();
  let page = load(kvm.memory, layout.word(ShadowWord.activeHead));
  while (page > 0 && page < kvm.allocator.pages && !seen.has(page)) {
    seen.add(page);
    pages.push(page);
    page = load(kvm.memory, kvm.pages.word(page, ShadowHeader.activeNext));
  }
  return pages;
}

/** The roots among them. Those that are invalid are still some vCPU's. */
export function shadowRoots(kvm: Kvm, layout: ShadowLayout): readonly number[] {
  return activePages(kvm, layout).filter((page) => kvm.pages.level(page) === kvm.geometry.rootLevel);
}

/** Audits everything. `slots`: the active memslots of each address space. Empty: all is well. */
export function auditShadow(kvm: Kvm, layout: ShadowLayout, slots: readonly (readonly Memslot[])[]): readonly AuditFinding[] {
  const audit = new Audit(kvm, layout, slots);
  audit.run();
  return audit.findings;
}

const load = (memory: Memory, a: Address): number => memory.load32(own(a));

class Audit {
  readonly kvm: Kvm;
  readonly layout: ShadowLayout;
  readonly slots: readonly (readonly Memslot[])[];
  readonly findings: AuditFinding[] = [];
  /** For each list head, the SPTEs that the tables say are on it. */
  readonly #expected = new Map<Address, Address[]>();
  readonly #leaves = new Array<number>(MAX_HUGEPAGE_LEVEL + 1).fill(0);
  #descriptors = 0;

  constructor(kvm: Kvm, layout: ShadowLayout, slots: readonly (readonly Memslot[])[]) {
    this.kvm = kvm;
    this.layout = layout;
    this.slots = slots;
  }

  run(): void {
    const pages = activePages(this.kvm, this.layout);
    const active = new Set(pages);
    this.#checkOrder(pages);
    for (const page of pages) this.#readTable(page, active);
    for (const page of pages) this.#checkList(this.#header(page, ShadowHeader.parents), `the parents of page ${page}`);
    for (const slot of this.slots.flat()) this.#checkSlot(slot);
    for (const head of this.#expected.keys())
      this.#report('rmap-elsewhere', `no page or memslot has the list at ${head}`, { word: head });
    this.#checkHash(pages);
    this.#checkCounts(pages);
  }

  #report(rule: string, message: string, where: { page?: number; word?: Address } = {}): void {
    this.findings.push({ rule, message, ...where });
  }

  #header(page: number, word: number): Address {
    return this.kvm.pages.word(page, word);
  }

  /** The list backwards, and the order of ages: no page of an older generation in front of one of the newer. */
  #checkOrder(pages: readonly number[]): void {
    const { memory } = this.kvm;
    let previous = 0;
    for (const page of pages) {
      const back = load(memory, this.#header(page, ShadowHeader.activePrev));
      if (back !== previous) this.#report('active-list', `page ${page} does not point back to page ${previous}`, { page });
      previous = page;
    }
    const tail = load(memory, this.layout.word(ShadowWord.activeTail));
    if (tail !== previous) this.#report('active-list', `the active pages end with ${previous}, not ${tail}`, { page: tail });
  }

  #readTable(page: number, active: ReadonlySet<number>): void {
    const { pages, memory, geometry } = this.kvm;
    const level = pages.level(page);
    const role = load(memory, this.#header(page, PageHeader.role));
    for (let i = 0; i < geometry.entries; i++) {
      const sptep = pages.sptep(page, i);
      const spte = memory.load64(own(sptep));
      if (!isShadowPresent(spte)) continue;
      const where = { page, word: sptep };
      if (roleInvalid(role)) this.#report('invalid-not-empty', `the invalid page ${page} still holds ${spte}`, where);
      if (!isLastSpte(spte, level)) {
        const child = spteToChildPage(spte);
        if (active.has(child)) this.#expect(this.#header(child, ShadowHeader.parents), sptep);
        else this.#report('link-to-inactive', `page ${page} links page ${child}, which is not active`, where);
        continue;
      }
      this.#leaves[level]++;
      const gfn = asGfn(pages.gfn(page) + i * geometry.span(level));
      const slot = this.slots[roleAsId(role)]?.find((s) => slotContains(s, gfn));
      if (slot === undefined) this.#report('no-slot', `${spte} maps gfn ${gfn}, but no memslot is there`, where);
      else this.#expect(rmapHead(this.kvm, slot, gfn, level), sptep);
    }
  }

  #expect(head: Address, sptep: Address): void {
    const list = this.#expected.get(head);
    if (list === undefined) this.#expected.set(head, [sptep]);
    else list.push(sptep);
  }

  /** The list at `head` against what the tables say; it is not looked at again. */
  #checkList(head: Address, what: string): void {
    const listed = this.#list(head).sort((a, b) => a - b);
    const expected = (this.#expected.get(head) ?? []).sort((a, b) => a - b);
    this.#expected.delete(head);
    if (listed.length === expected.length && listed.every((sptep, i) => sptep === expected[i])) return;
    this.#report('rmap', `${what} are SPTEs ${listed.join(', ') || 'none'}, not ${expected.join(', ') || 'none'}`, {
      word: head,
    });
  }

  #list(head: Address): Address[] {
    const { memory } = this.kvm;
    const value = load(memory, head);
    if (value === 0) return [];
    if ((value & 1) === 0) return [value as Address];
    const sptes: Address[] = [];
    for (let index = value >>> 1; index !== 0; this.#descriptors++) {
      if (index > this.layout.descriptorCount || sptes.length > PTE_DESC_SPTES * this.layout.descriptorCount) {
        this.#report('rmap-chain', `the list at ${head} leads to descriptor ${index}`, { word: head });
        break;
      }
      const at = this.layout.descriptor(index);
      const entries = Array.from({ length: PTE_DESC_SPTES }, (_, i) => load(memory, (at + i) as Address));
      const used = entries.filter((sptep) => sptep !== 0);
      const holes = entries.slice(0, used.length).includes(0);
      if (used.length === 0 || holes) this.#report('rmap-holes', `descriptor ${index} holds ${entries}`, { word: at });
      sptes.push(...(used as Address[]));
      index = load(memory, (at + PTE_DESC_SPTES) as Address);
    }
    return sptes;
  }

  #checkSlot(slot: Memslot): void {
    for (let level: Level = PG_LEVEL_4K; level <= MAX_HUGEPAGE_LEVEL; level++) {
      const base = slot.rmaps?.[level];
      if (base === undefined) {
        this.#report('slot-without-rmap', `memslot ${slot.id} has no reverse maps`);
        return;
      }
      const heads = rmapHeads(this.kvm, slot, level);
      for (let i = 0; i < heads; i++) {
        this.#checkList((base + RMAP_HEAD_WORDS * i) as Address, `page ${i} of memslot ${slot.id} at level ${level}: its maps`);
      }
    }
  }

  #checkHash(pages: readonly number[]): void {
    const { memory } = this.kvm;
    const hashed = new Set<number>();
    for (let i = 0; i < this.layout.buckets; i++) {
      let page = load(memory, (this.layout.hash + i) as Address);
      while (page !== 0 && !hashed.has(page)) {
        hashed.add(page);
        page = load(memory, this.#header(page, ShadowHeader.hashNext));
      }
      if (page !== 0) this.#report('hash-chain', `bucket ${i} leads to page ${page} again`, { page });
    }
    for (const page of pages) {
      const valid = !roleInvalid(load(memory, this.#header(page, PageHeader.role)));
      if (hashed.delete(page) !== valid) {
        this.#report('hash', `the ${valid ? 'valid' : 'invalid'} page ${page} is ${valid ? 'not ' : ''}in the hash`, { page });
      }
    }
    for (const page of hashed) this.#report('hash', `page ${page} is in the hash, but not active`, { page });
  }

  #checkCounts(pages: readonly number[]): void {
    const { kvm } = this;
    const compare = (name: string, counted: number, recounted: number): void => {
      if (counted !== recounted) this.#report('recount', `${name} is ${counted}, but there are ${recounted}`);
    };
    for (let level: Level = PG_LEVEL_4K; level <= MAX_HUGEPAGE_LEVEL; level++) {
      compare(`leaves of level ${level}`, vmStat(kvm, pagesStat(level)), this.#leaves[level]);
    }
    const below = pages.filter((page) => kvm.pages.level(page) < kvm.geometry.rootLevel).length;
    compare('tdp_mmu_pages', vmStat(kvm, VmStat.tdpMmuPages), below);
    compare('pte_list_desc', load(kvm.memory, this.layout.word(ShadowWord.descUsed)), this.#descriptors);
  }
}
