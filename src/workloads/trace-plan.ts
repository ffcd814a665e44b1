/**
 * From a recording to a script: which slots the VM has, which events are replayed by whom, and what must have happened before.
 */
import { RetPf } from '../mmu/page-fault-info.ts';
import type { ParamName } from '../mmu/params.ts';
import type { MemoryRegionConfig } from '../vm/vm-config.ts';
import { PARAM_NAMES } from './programs/trace-replay.ts';
import {
  CLEARED_NUMBERS,
  IOCTL_OWNER,
  type ScriptEvent,
  type ScriptOperand,
  TraceDetail,
  TraceEvent,
} from './programs/trace-script.ts';
import { guessSlots, RecordedMemory, type RecordedSlot } from './recorded-memory.ts';
import type { RecordedEvent, RecordedFault, RecordedIoctl, Recording } from './recording.ts';
import { PAGE_BYTES } from './size.ts';

const CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168;
const CAP_DISABLE_QUIRKS2 = 213;
const QUIRK_SLOT_ZAP_ALL = 0x80;
const LOG_DIRTY = 1;
const READONLY = 2;
const HUGE_PAGES = 512;
export interface TraceReplayPlan {
  readonly events: readonly ScriptEvent[];
  readonly operands: readonly ScriptOperand[];
  readonly memory: readonly MemoryRegionConfig[];
  readonly slots: number;
  /** Values of parameters at the start that follow from the recording. */
  readonly params: Readonly<Partial<Record<ParamName, number>>>;
  /** Accesses made beforehand, because the recording begins with their pages mapped. */
  readonly premapped: number;
  /** Slots that the recording does not make. */
  readonly guessed: number;
  /** Ioctl lines that are replayed, invalidations that are. */
  readonly ioctls: number;
  readonly invalidations: number;
}

const slotOf = ({ fields }: RecordedIoctl): RecordedSlot => ({
  slot: fields.slot % 0x10000,
  asId: Math.floor(fields.slot / 0x10000),
  flags: fields.flags,
  baseGfn: Math.floor(fields.gpa / PAGE_BYTES),
  pages: Math.floor(fields.size / PAGE_BYTES),
  hva: fields.hva,
});

const isMemslot = (event: Recording['events'][number]): event is RecordedIoctl => event.what === 'memslot';
const keyOf = ({ asId, slot }: RecordedSlot): string => `${asId}:${slot}`;
const hvaOf = (slot: RecordedSlot, gfn: number): number => slot.hva + (gfn - slot.baseGfn) * PAGE_BYTES;
const holds = (slot: RecordedSlot, gfn: number): boolean => gfn >= slot.baseGfn && gfn < slot.baseGfn + slot.pages;

/** Slots that a recording of a running VM must have begun with: those that it changes, and those that its faults need. */
function slotsBefore(recording: Recording, recorded: readonly RecordedSlot[]): RecordedSlot[] {
  if (recording.whole) return [];
  const seen = new Set<string>();
  const changed: RecordedSlot[] = [];
  for (const slot of recorded) {
    if (!seen.has(keyOf(slot)) && slot.pages > 0 && (slot.flags & LOG_DIRTY) !== 0) {
      changed.push({ ...slot, flags: slot.flags & READONLY });
    }
    seen.add(keyOf(slot));
  }
  const mmio = new Set<number>();
  const needed = new Set<number>();
  for (const event of recording.events) {
    if (event.what !== 'fault') continue;
    if (event.reserved) mmio.add(event.gfn);
    else if (!recorded.some((slot) => slot.asId === 0 && holds(slot, event.gfn))) needed.add(event.gfn);
  }
  const firstId = 1 + Math.max(-1, ...recorded.map(({ slot }) => slot));
  return [
    ...changed,
    ...guessSlots(
      [...needed].filter((gfn) => !mmio.has(gfn)),
      firstId,
    ),
  ];
}

/** The accesses that make the state with which a recording of a running VM begins. */
function accessesBefore(recording: Recording): ScriptEvent[] {
  if (recording.whole) return [];
  const access = (vcpu: number, gfn: number, write: boolean, smm: boolean): ScriptEvent => ({
    kind: write ? TraceEvent.write : TraceEvent.read,
    owner: vcpu,
    target: gfn,
    us: 0,
    detail: TraceDetail.before | (smm ? TraceDetail.smm : 0),
  });
  const covered = new Set<number>();
  const events = recording.initialLeaves.map(({ asId, gfn, level, writable }) => {
    if (level > 1) covered.add(Math.floor(gfn / HUGE_PAGES));
    return access(0, gfn, writable, asId === 1);
  });
  // The first fault on each page that was mapped already, where no change shows how.
  const seen = new Set(recording.initialLeaves.map(({ gfn }) => gfn));
  for (const event of recording.events) {
    if (event.what !== 'fault' || seen.has(event.gfn)) continue;
    seen.add(event.gfn);
    if (event.present && !event.reserved && !covered.has(Math.floor(event.gfn / HUGE_PAGES))) {
      events.push(access(event.vcpu, event.gfn, true, event.smm));
    }
  }
  // Every vCPU runs, and has loaded a root.
  for (let vcpu = 0; vcpu < recording.vcpus; vcpu++) {
    events.push({ kind: TraceEvent.enter, owner: vcpu, target: 0, us: 0, detail: TraceDetail.before });
  }
  return events;
}

/** Ranges of 2M in which small leaves were there before: the host must map them by small pages. */
function smallBefore({ initialLeaves }: Recording): ReadonlySet<number> {
  const blocksOf = (wanted: (level: number) => boolean): number[] =>
    initialLeaves.filter(({ level }) => wanted(level)).map(({ gfn }) => Math.floor(gfn / HUGE_PAGES));
  const small = new Set(blocksOf((level) => level === 1));
  for (const block of blocksOf((level) => level > 1)) small.delete(block);
  return small;
}

/**
 * Pages that the host had populated before the guest came: those that a read, the first access to them, mapped writable. A read
 * of anonymous memory that nobody has written maps the zero page.
 */
function populatedBefore(recording: Recording): RecordedFault[] {
  const seen = new Set<number>();
  const populated: RecordedFault[] = [];
  for (const event of recording.events) {
    if (event.what !== 'fault' || event.reserved || seen.has(event.gfn)) continue;
    // What was given up says nothing.
    if (event.result === RetPf.retry) continue;
    seen.add(event.gfn);
    if (event.access !== 'write' && event.writableLeaf > 0) populated.push(event);
  }
  return populated;
}

/** What is known of a fault, for who replays it. */
function detailOf({ present, result, invalidated, smm }: RecordedFault): number {
  const retried = result !== RetPf.retry ? 0 : invalidated ? TraceDetail.ownRetry : TraceDetail.givenUp;
  return (present ? TraceDetail.present : 0) | retried | (smm ? TraceDetail.smm : 0);
}

/**
 * @param type kind of the host's memory, or null to go by the recording
 * @param atEffect whether the deletion of a slot is placed where it took effect, instead of where its ioctl began
 */
export function planReplay(recording: Recording, type: MemoryRegionConfig['type'] | null, atEffect = false): TraceReplayPlan {
  const recorded = recording.events.filter(isMemslot).map(slotOf);
  const before = slotsBefore(recording, recorded);
  const existing = [...before, ...recorded].filter(({ pages }) => pages > 0);
  const memory = new RecordedMemory(existing, recording.hugeLeaves, type);
  const accesses = accessesBefore(recording);
  const planner = new Planner(recording, memory);

  for (const slot of before) planner.memslot(slot, 0, TraceDetail.before);
  for (const block of smallBefore(recording)) planner.smallPages(before, block);
  for (const { gfn, writableLeaf } of populatedBefore(recording)) planner.populate(existing, gfn, writableLeaf > 1);
  if (planner.events.length > 0) planner.done(0, TraceDetail.before);
  planner.events.push(...accesses);
  for (const event of inOrder(recording.events, atEffect)) planner.add(event);
  return {
    events: planner.events,
    operands: planner.operands,
    memory: memory.regions,
    slots: 1 + Math.max(0, ...existing.map(({ slot }) => slot)),
    params: paramsOf(recording),
    premapped: accesses.filter(({ kind }) => kind !== TraceEvent.enter).length,
    guessed: before.length,
    ioctls: planner.ioctls,
    invalidations: planner.invalidations,
  };
}

/** The events in recorded order, or with deletions of slots where they took effect. */
function inOrder(events: Recording['events'], atEffect: boolean): readonly RecordedEvent[] {
  if (!atEffect) return events;
  const late = new Map<number, RecordedEvent[]>();
  const moved = new Set<RecordedEvent>();
  for (const event of events) {
    if (event.what !== 'memslot' || event.effectAt === null) continue;
    late.set(event.effectAt, [...(late.get(event.effectAt) ?? []), event]);
    moved.add(event);
  }
  return events.flatMap((event, i) => [...(late.get(i) ?? []), ...(moved.has(event) ? [] : [event])]);
}

/** Turns recorded events into those of a script. */
class Planner {
  readonly events: ScriptEvent[] = [];
  readonly operands: ScriptOperand[] = [];
  ioctls = 0;
  invalidations = 0;
  readonly #recording: Recording;
  readonly #memory: RecordedMemory;
  readonly #startUs: number;
  /** First gfn of each slot, as it is at this point. */
  readonly #baseGfns = new Map<string, number>();

  constructor(recording: Recording, memory: RecordedMemory) {
    this.#recording = recording;
    this.#memory = memory;
    this.#startUs = recording.events[0]?.us ?? 0;
  }

  add(event: RecordedEvent): void {
    const us = event.us - this.#startUs;
    switch (event.what) {
      case 'fault':
        this.events.push({ kind: TraceEvent[event.access], owner: event.vcpu, target: event.gfn, us, detail: detailOf(event) });
        return;
      case 'load':
        this.events.push({ kind: TraceEvent.enter, owner: event.vcpu, target: 0, us, detail: event.smm ? TraceDetail.smm : 0 });
        return;
      case 'done':
        this.done(us);
        return;
      case 'unmap':
        for (const { region, page, pages } of this.#memory.within(event.start, event.end)) {
          this.#operation(TraceEvent.invalidate, us, [region, page, pages]);
          this.invalidations++;
        }
        return;
      default:
        this.ioctls += this.#ioctl(event, us) ? 1 : 0;
    }
  }

  memslot(slot: RecordedSlot, us: number, detail = 0): void {
    const place = this.#memory.find(slot.hva) ?? { region: 0, page: 0 };
    this.#baseGfns.set(keyOf(slot), slot.baseGfn);
    const operand = [slot.slot, slot.asId, slot.flags, slot.baseGfn, slot.pages, place.region, place.page];
    this.#operation(TraceEvent.memslot, us, operand, detail);
  }

  /** The host has a page behind `gfn`, a huge one or a small one. */
  populate(slots: readonly RecordedSlot[], gfn: number, huge: boolean): void {
    const slot = slots.find((known) => known.asId === 0 && holds(known, gfn));
    const place = slot && this.#memory.find(hvaOf(slot, gfn));
    if (!place || huge === (this.#memory.regions[place.region].type === '4k')) return;
    this.#operation(TraceEvent.populate, 0, [place.region, place.page, 1], TraceDetail.before);
  }

  /** The memory behind 2M of guest memory is mapped by small pages. */
  smallPages(slots: readonly RecordedSlot[], block: number): void {
    const first = block * HUGE_PAGES;
    const slot = slots.find((known) => holds(known, first) || holds(known, first + HUGE_PAGES - 1));
    if (slot === undefined) return;
    const hva = hvaOf(slot, first);
    for (const { region, page, pages } of this.#memory.within(hva, hva + HUGE_PAGES * PAGE_BYTES)) {
      this.#operation(TraceEvent.smallPages, 0, [region, page, pages], TraceDetail.before);
    }
  }

  done(us: number, detail = 0): void {
    this.events.push({ kind: TraceEvent.done, owner: IOCTL_OWNER, target: 0, us, detail });
  }

  #operation(kind: TraceEvent, us: number, operand: ScriptOperand, detail = 0): void {
    this.events.push({ kind, owner: IOCTL_OWNER, target: this.operands.length, us, detail });
    this.operands.push(operand);
  }

  #parameter(name: ParamName, value: number, us: number): void {
    this.#operation(TraceEvent.parameter, us, [PARAM_NAMES.indexOf(name), value]);
  }

  /** Whether it is replayed. */
  #ioctl(event: RecordedIoctl, us: number): boolean {
    const { fields } = event;
    const slot = [fields.slot % 0x10000, Math.floor(fields.slot / 0x10000)] as const;
    if (event.what === 'memslot') this.memslot(slotOf(event), us);
    else if (event.what === 'get') this.#operation(TraceEvent.getDirtyLog, us, slot);
    else if (event.what === 'clear') this.#clear(event, slot, us);
    else if (fields.cap === CAP_MANUAL_DIRTY_LOG_PROTECT2) this.#parameter('manualProtect', fields.arg0, us);
    else if (fields.cap === CAP_DISABLE_QUIRKS2)
      this.#parameter('slotZapAll', (fields.arg0 & QUIRK_SLOT_ZAP_ALL) === 0 ? 1 : 0, us);
    else return false;
    return true;
  }

  /** What was cleared, if the recording tells, stands in the operands behind it: two words of 64 pages in each. */
  #clear({ fields, cleared }: RecordedIoctl, [slot, asId]: readonly [number, number], us: number): void {
    const told = (this.#recording.mmuEvents.operations?.clear_dirty_pt_masked ?? 0) > 0;
    const base = this.#baseGfns.get(`${asId}:${slot}`) ?? 0;
    const { first_page: first = 0, num_pages: pages = 0 } = fields;
    this.#operation(TraceEvent.clearDirtyLog, us, [slot, asId, first, pages, told ? 1 : 0, cleared.length]);
    const numbers = cleared.flatMap(({ gfn, mask }) => [gfn - base, Number(mask & 0xffff_ffffn), Number(mask >> 32n)]);
    for (let i = 0; i < numbers.length; i += CLEARED_NUMBERS) this.operands.push(numbers.slice(i, i + CLEARED_NUMBERS));
  }
}

/** What was set before the recording began. */
function paramsOf(recording: Recording): TraceReplayPlan['params'] {
  const { events, eagerPageSplit } = recording;
  const params: Partial<Record<ParamName, number>> = {};
  if (eagerPageSplit !== null) params.eagerPageSplit = eagerPageSplit ? 1 : 0;
  const enabled = events.some((event) => event.what === 'cap' && event.fields.cap === CAP_MANUAL_DIRTY_LOG_PROTECT2);
  // Only with manual protection is there a CLEAR; qemu asks for initially-set bits as well.
  if (!enabled && events.some(({ what }) => what === 'clear')) params.manualProtect = 3;
  return params;
}
