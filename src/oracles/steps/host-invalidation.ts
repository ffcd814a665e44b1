/**
 * Step oracle: nothing is mapped that the host is taking away, or has.
 *
 * From the moment at which an invalidation of a page has zapped it until the invalidation ends, no fault may map the page; and
 * whenever one maps it without an invalidation that is still to zap it, the frame must be the one that the host has there.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import { StepKind } from '../../machine/point.ts';
import { KvmWord } from '../../mmu/kvm.ts';
import { roleAsId } from '../../mmu/mmu-page.ts';
import { isLastSpte, isShadowPresent, sptePfn } from '../../mmu/spte.ts';
import { isPresent } from '../../vm/host-pte.ts';
import { hex } from '../oracle.ts';
import { QuiescentState } from '../quiescent-state.ts';
import type { StepOracle } from '../step-oracle.ts';
import { TableStatus } from '../table-info.ts';

interface Invalidation {
  readonly thread: number;
  readonly region: number;
  readonly first: number;
  readonly end: number;
  /** mn_active_invalidate_count counts it. */
  active: boolean;
  /** It has let go of mmu_lock once: what it found is zapped, and faults must heed its range. */
  zapped: boolean;
  /** Faults may map the range again. */
  over: boolean;
}

export function hostInvalidationOracle(): StepOracle {
  let open: Invalidation[] = [];
  /** To read the host's page tables by; what it says of memslots is of the first state. */
  let state: QuiescentState;
  const latest = (thread: number): Invalidation | undefined => open.findLast((i) => i.thread === thread && !i.over);
  const oracle: StepOracle = {
    name: 'host-invalidation',
    help: 'no SPTE is made for a host page after its invalidation has zapped it, and before the host has a new one',
    prepare(world) {
      state = new QuiescentState(world.vm);
      world.watch(world.kvm.word(KvmWord.mnActive));
    },
    start() {
      if (open.length > 0) open = [];
    },
    unmapRange(_world, thread, region, first, end) {
      open.push({ thread: thread.id, region, first, end, active: false, zapped: false, over: false });
    },
    lockReleased(_world, thread, lock) {
      if (lock !== LockNumber.mmuLock) return;
      const invalidation = latest(thread.id);
      if (invalidation !== undefined) invalidation.zapped = true;
    },
    operation(_world, thread, name) {
      const invalidation = name === 'invalidate_end' ? latest(thread.id) : undefined;
      if (invalidation !== undefined) invalidation.over = true;
    },
    access(world, thread, kind, a) {
      if (kind !== StepKind.Write || a !== world.kvm.word(KvmWord.mnActive)) return;
      // The count goes up at the start of an invalidation, and down at its end; those of one thread nest.
      const at = open.findLastIndex((i) => i.thread === thread.id);
      if (at < 0) return;
      if (open[at].active) open.splice(at, 1);
      else open[at].active = true;
    },
    spte(world, { thread, table, sptep, gfn, level, old, next }) {
      if (table.status !== TableStatus.linked || isShadowPresent(old)) return;
      if (!isShadowPresent(next) || !isLastSpte(next, level)) return;
      const slot = world.slotOf(roleAsId(world.kvm.pages.role(table.root)), gfn);
      if (slot === null) return;
      const page = state.hostPage(slot, gfn);
      const span = world.kvm.geometry.span(level);
      const refuse = (rule: string, why: string): never => {
        const where = { thread: thread.id, gfn, level, word: sptep, root: table.root, pfn: sptePfn(next) };
        return world.fail(oracle, rule, where, `${thread.name} maps gfn ${hex(gfn)}, level ${level}, ${why}`);
      };
      if (open.length > 0) {
        const covering = open.filter((i) => i.region === slot.region && i.first < page + span && page < i.end && !i.over);
        // A huge page of which a part is invalidated will be split, and its whole range invalidated, before anything is freed.
        const breach = covering.find((i) => i.zapped && i.first <= page && page + span <= i.end);
        if (breach !== undefined) {
          const by = world.threads[breach.thread].name;
          refuse('mapped-during-invalidation', `which ${by} is invalidating, and has zapped already`);
        }
        if (covering.length > 0) return;
      }
      const region = state.region(slot);
      const pte = state.hostPte(region, page);
      if (isPresent(pte) && state.space.pfn(region, page, pte) === sptePfn(next)) return;
      const now = isPresent(pte)
        ? `has frame ${hex(state.space.pfn(region, page, pte))} there now`
        : 'has nothing there any more';
      refuse('stale-frame', `to frame ${hex(sptePfn(next))}, but the host ${now}`);
    },
  };
  return oracle;
}
