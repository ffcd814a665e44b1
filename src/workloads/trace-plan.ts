/**
 * From a recording to a script: which slots the VM has, which events are replayed by whom, and what must have happened before.
 */
import type { ParamName } from '../mmu/params.ts';
import type { MemoryRegionConfig } from '../vm/vm-config.ts';
import { PARAM_NAMES } from './programs/trace-replay.ts';
import { IOCTL_OWNER, type ScriptEvent, type ScriptOperand, TraceEvent } from './programs/trace-script.ts';
import { guessSlots, RecordedMemory, type RecordedSlot } from './recorded-memory.ts';
import type { RecordedFault, RecordedIoctl, Recording } from './recording.ts';
import { PAGE_BYTES } from './size.ts';

const CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168;
const CAP_DISABLE_QUIRKS2 = 213;
const QUIRK_SLOT_ZAP_ALL = 0x80;
const LOG_DIRTY = 1;
const READONLY = 2;

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

/** The first fault on each page that was mapped already, where the recording does not show how. */
function mappedBefore(recording: Recording): RecordedFault[] {
  if (recording.whole) return [];
  const seen = new Set<number>();
  return recording.events.filter((event): event is RecordedFault => {
    if (event.what !== 'fault' || seen.has(event.gfn)) return false;
    seen.add(event.gfn);
    return event.present && !event.reserved;
  });
}

/** @param type kind of the host's memory, or null to go by the recording */
export function planReplay(recording: Recording, type: MemoryRegionConfig['type'] | null): TraceReplayPlan {
  const recorded = recording.events.filter(isMemslot).map(slotOf);
  const before = slotsBefore(recording, recorded);
  const existing = [...before, ...recorded].filter(({ pages }) => pages > 0);
  const memory = new RecordedMemory(existing, recording.hugeLeaves, type);
  const premapped = mappedBefore(recording);
  const startUs = recording.events[0]?.us ?? 0;

  const events: ScriptEvent[] = [];
  const operands: ScriptOperand[] = [];
  const operation = (kind: TraceEvent, us: number, operand: ScriptOperand): void => {
    events.push({ kind, owner: IOCTL_OWNER, target: operands.length, us });
    operands.push(operand);
  };
  const memslot = (slot: RecordedSlot, us: number): void => {
    const place = memory.find(slot.hva) ?? { region: 0, page: 0 };
    operation(TraceEvent.memslot, us, [slot.slot, slot.asId, slot.flags, slot.baseGfn, slot.pages, place.region, place.page]);
  };
  const parameter = (name: ParamName, value: number, us: number): void =>
    operation(TraceEvent.parameter, us, [PARAM_NAMES.indexOf(name), value]);
  const done = (us: number): void => {
    events.push({ kind: TraceEvent.done, owner: IOCTL_OWNER, target: 0, us });
  };

  for (const slot of before) memslot(slot, 0);
  if (before.length > 0) done(0);
  for (const { vcpu, gfn } of premapped) events.push({ kind: TraceEvent.write, owner: vcpu, target: gfn, us: 0 });

  let ioctls = 0;
  let invalidations = 0;
  for (const event of recording.events) {
    const us = event.us - startUs;
    if (event.what === 'fault') {
      events.push({ kind: TraceEvent[event.access], owner: event.vcpu, target: event.gfn, us });
    } else if (event.what === 'done') {
      done(us);
    } else if (event.what === 'unmap') {
      for (const { region, page, pages } of memory.within(event.start, event.end)) {
        operation(TraceEvent.invalidate, us, [region, page, pages]);
        invalidations++;
      }
    } else {
      ioctls++;
      const { fields } = event;
      if (event.what === 'memslot') memslot(slotOf(event), us);
      else if (event.what === 'get')
        operation(TraceEvent.getDirtyLog, us, [fields.slot % 0x10000, Math.floor(fields.slot / 0x10000)]);
      else if (event.what === 'clear')
        operation(TraceEvent.clearDirtyLog, us, [fields.slot % 0x10000, Math.floor(fields.slot / 0x10000)]);
      else if (fields.cap === CAP_MANUAL_DIRTY_LOG_PROTECT2) parameter('manualProtect', fields.arg0, us);
      else if (fields.cap === CAP_DISABLE_QUIRKS2) parameter('slotZapAll', (fields.arg0 & QUIRK_SLOT_ZAP_ALL) === 0 ? 1 : 0, us);
      else ioctls--;
    }
  }
  const ids = existing.map(({ slot }) => slot);
  const guessed = before.length;
  return {
    events,
    operands,
    memory: memory.regions,
    slots: 1 + Math.max(0, ...ids),
    params: paramsOf(recording),
    premapped: premapped.length,
    guessed,
    ioctls,
    invalidations,
  };
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
