/**
 * The workload `max-guest-memory`: max_guest_memory_test, with slots deleted and memory unmapped under running vCPUs.
 */

import { heapBlockWords } from '../vm/heap.ts';
import { MEMSLOT_MAX_PAGES } from '../vm/set-memory-region.ts';
import { RMAP_LEVELS, rmapArrayWords, rmapHeadsAtMost } from '../vm/slot-rmaps.ts';
import { backingOption, completePlan, crew, slotsOption, TRACKED_PAGES_MAX, vcpusOption } from './memstress-plan.ts';
import { type ChoiceOption, numberOf, type OptionTable } from './option.ts';
import { roundedSize, TABLE_PAGES_MAX } from './plan-size.ts';
import { CONTROL_WORDS } from './programs/control.ts';
import { type MaxMemoryLayout, maxMemoryLayout } from './programs/max-guest-memory-layout.ts';
import { BACKINGS, type BackingName } from './programs/memstress-layout.ts';
import { seconds, tookLine } from './selftest-time.ts';
import { formatSize, PAGE_BYTES } from './size.ts';
import { UsageError } from './usage-error.ts';
import type { Workload, WorkloadOptions, WorkloadResult } from './workload.ts';

const GIB = 2 ** 30;
/** Guest-physical addresses have 46 bits. */
const SIZE_MAX = 64 * 2 ** 40;
const ROOT_LEVEL = 4;
const ENTRIES = 512;

const OPTIONS: OptionTable = [
  vcpusOption(4),
  {
    key: 'size',
    letter: 'm',
    long: 'size',
    kind: 'size',
    default: 64 * GIB,
    unit: PAGE_BYTES,
    help: 'memory of the guest, up to 64T',
  },
  { ...slotsOption, default: 32, max: 4096 },
  { ...(backingOption as ChoiceOption), default: 'anonymous_hugetlb_2mb' },
  {
    key: 'stride',
    letter: 't',
    long: 'stride',
    kind: 'size',
    default: 0,
    unit: PAGE_BYTES,
    help: 'bytes from one access of a vCPU to the next (default: a page of the backing)',
  },
];

export const maxGuestMemory: Workload = {
  name: 'max-guest-memory',
  summary: 'vCPUs touch a guest of up to 64T while its memory is protected, deleted and unmapped',
  selftest: 'max_guest_memory_test',
  options: OPTIONS,
  async plan(given, common) {
    const options: WorkloadOptions = { ...given, strideBytes: numberOf(given, 'stride') };
    const layout = maxMemoryLayout(options);
    checkGeometry(options, layout);
    const vcpus = numberOf(options, 'vcpus');
    const { pagesPerSlot, slots, pages, baseGfn } = layout;
    const { type } = BACKINGS[options.backing as BackingName];
    const shadow = common.vm.mmu === 'shadow';
    const plan = completePlan({
      workload: 'max-guest-memory',
      options,
      common,
      threads: crew(vcpus, { vcpu: 'max-guest-memory-vcpu', ioctl: 'max-guest-memory-ioctl' }),
      vm: {
        vcpus,
        maxGfn: baseGfn + pages,
        tablePages: tablePagesWithin(options, layout),
        // In place before the vCPUs run, as the selftest touches it all beforehand.
        memory: [{ name: 'test', type, pages: pagesPerSlot, populate: true }],
        maxMemslots: slots + 16,
        trackContents: pagesPerSlot <= TRACKED_PAGES_MAX,
        // Every slot has reverse maps of its own, though all show the same memory.
        ...(shadow ? { heapWords: rmapWords(layout) } : {}),
      },
      controlWords: CONTROL_WORDS,
    });
    return {
      plan,
      notes: [`Running with ${formatSize(numberOf(options, 'size'))} of guest memory in ${slots} slots and ${vcpus} vCPUs`],
    };
  },
  lines,
};

/** Errors: UsageError for a guest that cannot be cut into slots and pages as wanted. */
function checkGeometry(options: WorkloadOptions, { pages, slots, pagesPerSlot, unit, stride }: MaxMemoryLayout): void {
  const size = formatSize(pages * PAGE_BYTES);
  if (pages * PAGE_BYTES > SIZE_MAX) throw new UsageError(`-m ${size}: a guest has at most ${formatSize(SIZE_MAX)}`);
  if (!Number.isInteger(pagesPerSlot / unit)) {
    throw new UsageError(
      `-m ${size} -x ${slots}: cannot be cut into so many slots that are multiples of ${formatSize(unit * PAGE_BYTES)}, a page of ${options.backing}`,
    );
  }
  if (pagesPerSlot > MEMSLOT_MAX_PAGES) {
    throw new UsageError(
      `-m ${size} -x ${slots}: a slot has less than 8T; at least ${Math.ceil(pages / MEMSLOT_MAX_PAGES)} slots are needed`,
    );
  }
  if (stride > pages) throw new UsageError(`-t ${formatSize(stride * PAGE_BYTES)}: is more than the guest has`);
}

/** Page tables that map what one pass touches. */
function tablesFor({ pages, unit, stride, touches }: MaxMemoryLayout): number {
  let tables = 0;
  const leafLevel = 1 + Math.round(Math.log(unit) / Math.log(ENTRIES));
  for (let level = leafLevel; level <= ROOT_LEVEL; level++) {
    const span = ENTRIES ** level;
    // One more, as the guest need not begin where a table does.
    tables += Math.min(Math.ceil(pages / Math.max(span, stride)) + 1, touches);
  }
  return tables;
}

/** What vCPUs keep at hand, the tables of an MMIO SPTE in each slot that is gone, and some more. */
const spareTables = (options: WorkloadOptions): number =>
  64 * numberOf(options, 'vcpus') + ROOT_LEVEL * numberOf(options, 'slots') + 256;

/**
 * Page-table pages for the guest: twice what maps it, since removed tables live on until their root is zapped, or as many as
 * there can be. Errors: UsageError for a guest whose tables there cannot be.
 */
function tablePagesWithin(options: WorkloadOptions, layout: MaxMemoryLayout): number {
  const spare = spareTables(options);
  const needed = tablesFor(layout) + spare;
  if (needed <= TABLE_PAGES_MAX) return Math.min(needed + tablesFor(layout), TABLE_PAGES_MAX);
  let most = 0;
  for (let step = 2 ** 15 * GIB; step >= GIB; step /= 2) {
    const pages = (most + step) / PAGE_BYTES;
    const smaller = { ...layout, pages, touches: Math.ceil(pages / layout.stride) };
    if (tablesFor(smaller) + spare <= TABLE_PAGES_MAX) most += step;
  }
  throw new UsageError(
    `-m ${formatSize(layout.pages * PAGE_BYTES)} -s ${options.backing}: needs ${roundedSize(needed * PAGE_BYTES)} of page tables, and ${formatSize(TABLE_PAGES_MAX * PAGE_BYTES)} can be had: up to ${formatSize(most)} fits, or more on larger pages`,
  );
}

/** Heap for the reverse maps of all slots: that the TDP MMU does without them is what lets a guest grow. */
function rmapWords({ slots, pagesPerSlot }: MaxMemoryLayout): number {
  const perSlot = RMAP_LEVELS.reduce(
    (sum, level) => sum + heapBlockWords(rmapArrayWords(rmapHeadsAtMost({ entries: ENTRIES }, pagesPerSlot, level))),
    0,
  );
  return slots * perSlot + 2 ** 16;
}

function lines({ phases, tallies }: WorkloadResult): string[] {
  const { run1, run2, ro, rw, 'delete slot': deleted = [], 'unmap half': unmapped = [] } = phases;
  const runs = Object.entries({ run1, run2, ro, rw }).flatMap(([name, times]) =>
    times === undefined ? [] : [`${name} = ${seconds(times[0])}s`],
  );
  const [tables] = tallies['page tables'] ?? [];
  const short = (tallies['short of page tables'] ?? []).length;
  return [
    ...(runs.length > 0 ? [runs.join(', ')] : []),
    ...(deleted.length > 0 ? [tookLine(`Deleting ${deleted.length} slots under load`, deleted)] : []),
    ...unmapped.map((ns) => `Unmapping half of the host's memory under load took ${seconds(ns)}s.`),
    ...(tables === undefined ? [] : [`Page tables: ${tables} pages, ${roundedSize(tables * PAGE_BYTES)}`]),
    ...(short > 0 ? [`KVM_RUN found no page-table page ${short} times, and was tried again`] : []),
  ];
}
