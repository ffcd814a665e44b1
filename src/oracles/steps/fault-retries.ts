/**
 * Step oracle: faults get on. A fault is tried again because somebody was in its way: an SPTE changed, or is frozen, or an
 * invalidation is under way. One that is tried again and again while nobody changes anything will be tried for ever. This can be
 * told only of vCPUs that wait for what stood in their way (`awaitRetries`): others fault again at once, as often as they like.
 */
import { StepKind } from '../../machine/point.ts';
import { KvmWord } from '../../mmu/kvm.ts';
import { PageHeader } from '../../mmu/mmu-page.ts';
import { RetPf } from '../../mmu/page-fault-info.ts';
import { hex } from '../oracle.ts';
import type { StepOracle } from '../step-oracle.ts';

/** Retries in a row without a change by others: what was in the way may have come before the first of them. */
const RETRIES_MAX = 2;

/** Words whose change decides whether a fault may go on. */
const WORDS = [KvmWord.invalidateInProgress, KvmWord.invalidateSeq, KvmWord.invalidateStart, KvmWord.invalidateEnd];

export function faultRetriesOracle(): StepOracle {
  /** For each thread: retries in a row, the gfn, and changes by others when the first of these faults began. */
  const rows: { gfn: number; retries: number; changes: number }[] = [];
  /** Changes so far, and for each thread its own. */
  let changes = 0;
  const own: number[] = [];
  const byOthers = (thread: number): number => changes - (own[thread] ?? 0);
  const change = (thread: number): void => {
    changes++;
    own[thread] = (own[thread] ?? 0) + 1;
  };
  return {
    name: 'fault-retries',
    help: 'no fault is tried again and again while nobody changes anything',
    prepare(world) {
      for (const index of WORDS) world.watch(world.kvm.word(index));
    },
    start() {
      rows.length = 0;
      own.length = 0;
      changes = 0;
    },
    spte(_world, { thread }) {
      change(thread.id);
    },
    access(_world, thread, kind) {
      if (kind !== StepKind.Read) change(thread.id);
    },
    headerAccess(world, thread, kind, page, a) {
      if (kind !== StepKind.Read && a === world.kvm.pages.word(page, PageHeader.role)) change(thread.id);
    },
    pageFault(_world, thread, gfn) {
      const row = rows[thread.id];
      if (row !== undefined && row.gfn === gfn && row.retries > 0 && row.changes === byOthers(thread.id)) return;
      rows[thread.id] = { gfn, retries: 0, changes: byOthers(thread.id) };
    },
    pageFaultDone(world, thread, gfn, result) {
      const row = rows[thread.id];
      if (row === undefined || thread.cpu?.awaitRetries !== true) return;
      if (result !== RetPf.retry) row.retries = 0;
      else if (row.changes === byOthers(thread.id) && ++row.retries > RETRIES_MAX) {
        const message = `${thread.name} has tried its fault on gfn ${hex(gfn)} ${row.retries} times, and nobody has changed anything`;
        world.fail(this, 'retry-without-end', { thread: thread.id, gfn }, message);
      }
    },
  };
}
