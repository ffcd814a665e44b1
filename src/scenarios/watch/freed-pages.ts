/**
 * Rule: nobody touches a page-table page that is not in use. A table that was freed, or waits in a cache to be linked again,
 * may be read and written by its owner alone, whose accesses are no scheduling points.
 */
import { PAGE_DESCRIPTOR_WORDS, PageState } from '../../machine/page-allocator.ts';
import { addressOfStep, StepKind } from '../../machine/point.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import { breakRule, type StepRule, type WatchedThread } from './step-rule.ts';

/** Words of a descriptor that belong to the allocator. */
const ALLOCATORS_OWN = 4;
const ACCESS: readonly string[] = ['reads', 'writes', 'exchanges', 'adds to'];

export class FreedPages implements StepRule {
  readonly name = 'freed-pages';

  reset(): void {}

  step(thread: WatchedThread, kind: number, address: number): void {
    const { kvm } = thread.vm;
    // Descriptors and tables come last of what the MMU shares: most steps are elsewhere.
    if (address < kvm.allocator.descriptors || kind > StepKind.Count) return;
    const page = pageOf(kvm, address);
    if (page === 0) return;
    const state = kvm.allocator.stateOf(kvm.memory, page);
    if (state === PageState.live || state === PageState.rcu) return;
    const what = state === PageState.free ? 'was freed' : 'was freed and handed out again';
    breakRule('use-after-free', `${thread.name} ${ACCESS[kind]} page-table page ${page}, which ${what}`);
  }
}

/** The page whose table or header holds the word, or 0. */
function pageOf({ allocator }: Kvm, address: number): number {
  const { tables, descriptors, pages } = allocator;
  if (address >= tables) {
    const page = allocator.pageOfTable(addressOfStep(address * 16));
    return page < pages ? page : 0;
  }
  const offset = address - descriptors;
  if (offset < 0 || offset >= pages * PAGE_DESCRIPTOR_WORDS) return 0;
  return offset % PAGE_DESCRIPTOR_WORDS < ALLOCATORS_OWN ? 0 : Math.floor(offset / PAGE_DESCRIPTOR_WORDS);
}
