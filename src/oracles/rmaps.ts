/**
 * Oracle of the rmap-based MMU, in place of those of the TDP MMU's roots, pages and statistics: reverse maps, parents, hash and
 * list of active pages agree with the tables; every page is in use, in a thread's hands, or free; roots have the references
 * that vCPUs hold.
 *
 * Here a page-table page may be in use without being linked: it waits in the hash for a fault to find it, and what it maps
 * is still reached by reverse maps.
 */
import { PageState } from '../machine/page-allocator.ts';
import { PageHeader } from '../mmu/mmu-page.ts';
import { activePages, auditShadow, shadowRoots } from '../shadow/audit.ts';
import type { ShadowLayout } from '../shadow/shadow-layout.ts';
import type { Findings, StateOracle } from './oracle.ts';
import type { QuiescentState } from './quiescent-state.ts';

export const rmapsOracle: StateOracle = {
  name: 'rmaps',
  help: 'the rmap-based MMU: reverse maps, hash, active pages and statistics agree with the tables, references with their owners',
  check(state, found) {
    const { shadow } = state.vm.layout;
    if (shadow === null) return;
    for (const { rule, message, page, word } of auditShadow(state.kvm, shadow, state.slots)) {
      found.report(rule, { ...(page === undefined ? {} : { page }), ...(word === undefined ? {} : { word }) }, message);
    }
    checkPages(state, shadow, found);
    checkReferences(state, shadow, found);
  },
};

function checkPages(state: QuiescentState, shadow: ShadowLayout, found: Findings): void {
  const { allocator } = state.kvm;
  const active = new Set(activePages(state.kvm, shadow));
  const inHand = state.options.cachedPages === undefined ? null : new Set(state.options.cachedPages);
  let used = 0;
  for (let page = 1; page < allocator.pages; page++) {
    const at = state.pageState(page);
    if (at !== PageState.free) used++;
    if (active.has(page) && at !== PageState.live) found.report('page-state', { page }, `the active page ${page} is not live`);
    if (!active.has(page) && at === PageState.live) found.report('leak', { page }, `page ${page} is live, but not active`);
    if (at === PageState.rcu)
      found.report('page-state', { page }, `page ${page} waits for a grace period, which nobody needs here`);
    if (inHand !== null && inHand.has(page) !== (at === PageState.cached)) {
      found.report(
        'leak',
        { page },
        `page ${page} is ${inHand.has(page) ? 'in hand, but not cached' : 'cached, but in nobody’s hands'}`,
      );
    }
  }
  const counted = state.load(allocator.used);
  if (counted !== used) found.report('recount', {}, `the allocator counts ${counted} pages in use, but there are ${used}`);
}

/** Without being told of the roots that vCPUs cache, references can only be too few. */
function checkReferences(state: QuiescentState, shadow: ShadowLayout, found: Findings): void {
  const { vcpuRoots } = state.options;
  const held = new Map<number, number>();
  for (let vcpu = 0; vcpu < state.areas.length; vcpu++) {
    for (const root of vcpuRoots?.(vcpu) ?? [state.currentRoot(vcpu)]) held.set(root, (held.get(root) ?? 0) + 1);
  }
  held.delete(0);
  for (const root of shadowRoots(state.kvm, shadow)) {
    const count = state.header(root, PageHeader.rootCount);
    const expected = held.get(root) ?? 0;
    held.delete(root);
    if (count < expected)
      found.report('reference-missing', { root }, `root ${root} has ${count} references, but ${expected} vCPUs`);
    if (count > expected && vcpuRoots !== undefined) {
      found.report('reference-leaked', { root }, `root ${root} has ${count} references, but ${expected} vCPUs`);
    }
  }
  for (const root of held.keys()) found.report('root-gone', { root }, `a vCPU holds root ${root}, which is not active`);
}
