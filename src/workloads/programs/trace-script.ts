/**
 * A recorded run as the replaying threads see it: events in recorded order, in the workload's part of the control block, where
 * all of them can read it and nobody changes it.
 */
import { own } from '../../machine/point.ts';
import type { Control } from './control.ts';

/** What an event is. The operations of the ioctl thread follow the guest's accesses. */
export const TraceEvent = {
  /** A guest access: owner is the vCPU. */
  read: 0,
  write: 1,
  exec: 2,
  /** KVM_SET_USER_MEMORY_REGION, by its operand. */
  memslot: 3,
  getDirtyLog: 4,
  clearDirtyLog: 5,
  /** KVM_ENABLE_CAP: the operand's first word is the parameter, its second the value. */
  parameter: 6,
  /** An MMU notifier invalidation. */
  invalidate: 7,
  /** The ioctl before it of the same thread has returned: what follows came after it. */
  done: 8,
  /** A vCPU enters the guest, and loads a root for that. */
  enter: 9,
  /** The host maps a range by small pages from now on. */
  smallPages: 10,
  /** The host writes to a range itself. */
  populate: 11,
} as const;
export type TraceEvent = (typeof TraceEvent)[keyof typeof TraceEvent];

/** What is known of an event of a vCPU beside its kind: bits. */
export const TraceDetail = {
  /** The SPTE was present. */
  present: 1,
  /** The kernel gave the fault up (RETRY) because others were in the way: the guest's next try is an event of its own. */
  givenUp: 2,
  /** Likewise, but because the fault itself had to change the host's mapping. */
  ownRetry: 4,
  /** In the address space of system-management mode. */
  smm: 8,
  /** It makes the state with which the recording begins. */
  before: 16,
} as const;

/** Whether an event is one of a vCPU. */
export const isVcpuEvent = (kind: TraceEvent): boolean => kind <= TraceEvent.exec || kind === TraceEvent.enter;

/** Owner of the events of the ioctl thread. */
export const IOCTL_OWNER = 0xffff;

/** One event. */
export interface ScriptEvent {
  readonly kind: TraceEvent;
  /** A vCPU, or {@link IOCTL_OWNER}. */
  readonly owner: number;
  /** gfn of an access, else the number of the operand. */
  readonly target: number;
  /** Microseconds since the first event. */
  readonly us: number;
  /** {@link TraceDetail} */
  readonly detail?: number;
}

/**
 * The operand of an operation: numbers below 2^53. Memslot: slot, asId, flags, baseGfn, pages, region, regionPage. CLEAR: slot,
 * asId, first page, pages, and the first of the words of 64 pages that are cleared, with how many follow in as many operands.
 */
export type ScriptOperand = readonly number[];
export const OPERAND_NUMBERS = 8;
/** Of them what was cleared fills so many: page, low and high half of the mask, for two words. */
export const CLEARED_NUMBERS = 6;

const HEAD_WORDS = 16;
const EVENT_WORDS = 4;
const TWO_32 = 2 ** 32;

/** Where the parts of a script are, in words of the workload's data. */
interface Place {
  readonly events: number;
  readonly operands: number;
  readonly end: number;
}

function placeOf(events: number, operands: number): Place {
  const operandsAt = HEAD_WORDS + EVENT_WORDS * events;
  return { events: HEAD_WORDS, operands: operandsAt, end: operandsAt + 2 * OPERAND_NUMBERS * operands };
}

/** Words that a script takes. */
export const scriptWords = (events: number, operands: number): number => placeOf(events, operands).end;

/** Puts a script where the threads will look for it. Nobody else runs. */
export function writeScript(control: Control, events: readonly ScriptEvent[], operands: readonly ScriptOperand[]): void {
  const store = (index: number, value: number): void => control.memory.store32(own(control.data(index)), value | 0);
  const store64 = (index: number, value: number): void => {
    store(index, value % TWO_32);
    store(index + 1, Math.floor(value / TWO_32));
  };
  const place = placeOf(events.length, operands.length);
  store(0, events.length);
  store(1, operands.length);
  events.forEach(({ kind, owner, target, us, detail = 0 }, i) => {
    const at = place.events + EVENT_WORDS * i;
    store(at, kind | (owner << 8) | (detail << 24));
    store64(at + 1, target);
    store(at + 3, us);
  });
  operands.forEach((operand, i) => {
    const at = place.operands + 2 * OPERAND_NUMBERS * i;
    operand.forEach((value, j) => {
      store64(at + 2 * j, value);
    });
  });
}

/** A thread's view of the script. */
export class TraceScript {
  readonly #control: Control;
  readonly #place: Place;
  readonly length: number;
  /** Words of the control block's data up to the script's end. */
  readonly words: number;

  constructor(control: Control) {
    this.#control = control;
    this.length = control.constant(0);
    this.#place = placeOf(this.length, control.constant(1));
    this.words = this.#place.end;
  }

  #word(event: number, word: number): number {
    return this.#control.constant(this.#place.events + EVENT_WORDS * event + word);
  }

  #number(at: number): number {
    return this.#control.constant(at + 1) * TWO_32 + (this.#control.constant(at) >>> 0);
  }

  kind(event: number): TraceEvent {
    return (this.#word(event, 0) & 0xff) as TraceEvent;
  }

  owner(event: number): number {
    return (this.#word(event, 0) >>> 8) & 0xffff;
  }

  /** Bits of {@link TraceDetail}. */
  detail(event: number): number {
    return this.#word(event, 0) >>> 24;
  }

  target(event: number): number {
    return this.#number(this.#place.events + EVENT_WORDS * event + 1);
  }

  /** Nanoseconds since the first event. */
  ns(event: number): number {
    return (this.#word(event, 3) >>> 0) * 1000;
  }

  operand(index: number): ScriptOperand {
    const at = this.#place.operands + 2 * OPERAND_NUMBERS * index;
    return Array.from({ length: OPERAND_NUMBERS }, (_, i) => this.#number(at + 2 * i));
  }
}
