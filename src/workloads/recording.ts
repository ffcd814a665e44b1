/**
 * What a recorded trace holds, after one pass over its lines: faults, ioctls, invalidations, and what tells the host's memory.
 */
import { MmuEventCounts, type MmuEventTable, mmuEventTable } from '../engines/measure/mmu-events.ts';
import { RetPf } from '../mmu/page-fault-info.ts';
import { countTraceEvent } from './count-trace-event.ts';
import { parseFields, parseFtraceLine, parseLeaf, parsePageFault, parseSpteChange, parseUnmapRange } from './ftrace-line.ts';
import { readLines } from './ftrace-reader.ts';
import { type InitialLeaf, InitialLeaves } from './initial-leaves.ts';
import { UsageError } from './usage-error.ts';

export interface RecordedFault {
  readonly what: 'fault';
  readonly us: number;
  readonly vcpu: number;
  readonly gfn: number;
  readonly access: 'read' | 'write' | 'exec';
  /** The SPTE was present: the page was mapped before. */
  readonly present: boolean;
  /** The access went to a known MMIO page. */
  readonly reserved: boolean;
  /** What the handler returned (RET_PF_*), where the recording tells. */
  readonly result: number | null;
  /** While it was handled its own thread invalidated host memory: it had to change the host's mapping. */
  readonly invalidated: boolean;
  /** It was handled in the address space of system-management mode. */
  readonly smm: boolean;
  /** Level of the writable leaf that it installed, else 0: for a read, writable because the host had a page of its own there. */
  readonly writableLeaf: number;
}

/** A vCPU loads a root. */
export interface RecordedLoad {
  readonly what: 'load';
  readonly us: number;
  readonly vcpu: number;
  readonly smm: boolean;
}

export interface RecordedIoctl {
  readonly what: 'memslot' | 'get' | 'clear' | 'cap';
  readonly us: number;
  readonly pid: number;
  readonly fields: Readonly<Record<string, number>>;
  /** Of CLEAR, in order: what was dirty and named, by words of 64 pages. Empty where the recording does not tell. */
  readonly cleared: readonly { readonly gfn: number; readonly mask: bigint }[];
  /** Of the deletion or move of a slot: when all roots were made invalid. Null where the recording does not tell. */
  readonly effectAt: number | null;
}

/** The return of the last ioctl of a thread. */
export interface RecordedDone {
  readonly what: 'done';
  readonly us: number;
  readonly pid: number;
}

/** Host virtual bytes [start, end) are invalidated. */
export interface RecordedUnmap {
  readonly what: 'unmap';
  readonly us: number;
  readonly start: number;
  readonly end: number;
}

export type RecordedEvent = RecordedFault | RecordedLoad | RecordedIoctl | RecordedDone | RecordedUnmap;

export interface Recording {
  /** In recorded order. */
  readonly events: readonly RecordedEvent[];
  readonly vcpus: number;
  readonly faults: number;
  /** Of them accesses to pages that were known to be MMIO. */
  readonly mmioFaults: number;
  /** Whether it begins before the VM's first vCPU was created, so that it tells the whole story of the VM. */
  readonly whole: boolean;
  /** Leaves that its changes show to have been there before; none where it tells the whole story. */
  readonly initialLeaves: readonly InitialLeaf[];
  /** Huge leaves that were seen: gfn and level. */
  readonly hugeLeaves: readonly { readonly gfn: number; readonly level: number }[];
  /** kvm.eager_page_split, where the recorder noted it. */
  readonly eagerPageSplit: boolean | null;
  /** What its events report, counted as a run counts its own. */
  readonly mmuEvents: MmuEventTable;
  readonly lines: number;
  /** Events that a replay does not need, by name. */
  readonly leftOut: Readonly<Record<string, number>>;
  /** Lines that are neither comments nor events, and events whose text is not as expected. */
  readonly notUnderstood: number;
  /** The first of them. */
  readonly firstNotUnderstood: string;
}

const IOCTLS: Readonly<Record<string, RecordedIoctl['what']>> = {
  ioctl_memslot: 'memslot',
  ioctl_get_dirty_log: 'get',
  ioctl_clear_dirty_log: 'clear',
  ioctl_enable_cap: 'cap',
};

/** Fields without which an ioctl's line says too little. */
const NEEDED: Readonly<Record<RecordedIoctl['what'], readonly string[]>> = {
  memslot: ['slot', 'flags', 'gpa', 'size', 'hva'],
  get: ['slot'],
  clear: ['slot'],
  cap: ['cap', 'arg0'],
};

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Collects a recording from its lines. */
export class RecordingBuilder {
  readonly #events: RecordedEvent[] = [];
  readonly #leftOut = new Map<string, number>();
  readonly #hugeLeaves: { gfn: number; level: number }[] = [];
  /** vCPUs by the thread that runs them, where faults do not tell. */
  readonly #vcpuOf = new Map<number, number>();
  /** The ioctl under way, by thread. */
  readonly #pending = new Map<number, Mutable<RecordedIoctl> & { cleared: { gfn: number; mask: bigint }[] }>();
  /** The fault under way, by thread. */
  readonly #handling = new Map<number, Mutable<RecordedFault>>();
  /** The root loaded last, by thread. */
  readonly #loads = new Map<number, Mutable<RecordedLoad>>();
  readonly #initial = new InitialLeaves();
  readonly #counts = new MmuEventCounts();
  #vcpus = 0;
  #faults = 0;
  #mmioFaults = 0;
  #whole = false;
  /** The VM is being closed: that is not replayed. */
  #closed = false;
  #eagerPageSplit: boolean | null = null;
  #lines = 0;
  #notUnderstood = 0;
  #firstNotUnderstood = '';

  /** Takes a line. Returns whether it was understood. */
  add(text: string): boolean {
    this.#lines++;
    // CPU buffers that overran are noted in brackets between the events.
    if (text === '' || text.startsWith('#') || /^CPU:\d+ \[LOST/.test(text)) return true;
    const line = parseFtraceLine(text);
    if (line !== null && this.#event(line.event, line.text, line.us, line.pid)) {
      this.#closed ||= line.event === 'zap_all';
      if (!this.#closed) countTraceEvent(this.#counts, line.event, line.text);
      return true;
    }
    this.#strange(text);
    return false;
  }

  /** Whether it was understood. */
  #event(event: string, text: string, us: number, pid: number): boolean {
    if (event === 'kvm_page_fault') return this.#fault(text, us, pid);
    const what = IOCTLS[event];
    if (what !== undefined) return this.#ioctl(what, text, us, pid);
    if (event === 'ioctl_done') {
      if (this.#pending.delete(pid)) this.#events.push({ what: 'done', us, pid });
      return true;
    }
    this.#note(event, text, us, pid);
    if (event === 'kvm_unmap_hva_range') {
      const range = parseUnmapRange(text);
      if (range !== null) this.#events.push({ what: 'unmap', us, ...range });
      return range !== null;
    }
    if (event === 'kvm_mmu_set_spte' || event === 'kvm_mmu_split_huge_page') {
      const leaf = parseLeaf(text);
      if (leaf !== null && leaf.level > 1) this.#hugeLeaves.push(leaf);
    } else if (event === 'tracing_mark_write') {
      const note = /\beager_page_split=([YN])/.exec(text);
      if (note) this.#eagerPageSplit = note[1] === 'Y';
    } else if (event === 'ioctl_create_vcpu') {
      this.#whole ||= this.#faults === 0;
      this.#vcpus = Math.max(this.#vcpus, (parseFields(text).id ?? 0) + 1);
    }
    this.#leftOut.set(event, (this.#leftOut.get(event) ?? 0) + 1);
    return true;
  }

  /** What tells more of the fault, the load or the ioctl that its thread is in the middle of. */
  #note(event: string, text: string, us: number, pid: number): void {
    const fault = this.#handling.get(pid);
    const ioctl = this.#pending.get(pid);
    if (event === 'kvm_tdp_mmu_spte_changed') {
      const change = parseSpteChange(text);
      if (change === null) return;
      if (change.asId === 1) {
        if (fault) fault.smm = true;
        const load = this.#loads.get(pid);
        if (fault && load) load.smm = true;
      }
      if (!this.#whole) this.#initial.add(change);
    } else if (event === 'npf_done') {
      if (fault) fault.result = parseFields(text).ret ?? null;
      this.#handling.delete(pid);
    } else if (event === 'kvm_mmu_set_spte') {
      if (fault) fault.writableLeaf = Number(/\(rw\S*\) level (\d)/.exec(text)?.[1] ?? 0);
    } else if (event === 'kvm_unmap_hva_range') {
      if (fault) fault.invalidated = true;
    } else if (event === 'load_pgd') {
      const vcpu = this.#vcpuOf.get(pid);
      if (vcpu === undefined) return;
      const load: Mutable<RecordedLoad> = { what: 'load', us, vcpu, smm: false };
      this.#loads.set(pid, load);
      this.#events.push(load);
    } else if (event === 'clear_dirty_pt_masked') {
      const match = /gfn=(0x[\da-f]+) mask=(0x[\da-f]+)/i.exec(text);
      if (match && ioctl?.what === 'clear') ioctl.cleared.push({ gfn: Number(match[1]), mask: BigInt(match[2]) });
    } else if (event === 'inval_roots') {
      if (ioctl?.what === 'memslot') ioctl.effectAt = this.#events.length;
    }
  }

  #fault(text: string, us: number, pid: number): boolean {
    const fault = parsePageFault(text);
    if (fault === null) return false;
    let { vcpu } = fault;
    if (vcpu === null) {
      vcpu = this.#vcpuOf.get(pid) ?? this.#vcpuOf.size;
    }
    this.#vcpuOf.set(pid, vcpu);
    const { gfn, present, reserved, write, exec } = fault;
    const access = write ? 'write' : exec ? 'exec' : 'read';
    const smm = this.#loads.get(pid)?.smm ?? false;
    const recorded: Mutable<RecordedFault> = {
      ...{ what: 'fault', us, vcpu, gfn, access, present, reserved },
      ...{ result: null, invalidated: false, smm, writableLeaf: 0 },
    };
    // Where returns are not recorded: who changes the host's mapping for a fault and faults again had to try again.
    const last = this.#handling.get(pid);
    if (last?.result === null && last.invalidated && last.gfn === gfn) last.result = RetPf.retry;
    this.#events.push(recorded);
    if (!reserved) this.#handling.set(pid, recorded);
    this.#vcpus = Math.max(this.#vcpus, vcpu + 1);
    this.#faults++;
    if (reserved) this.#mmioFaults++;
    return true;
  }

  #ioctl(what: RecordedIoctl['what'], text: string, us: number, pid: number): boolean {
    const fields = parseFields(text);
    if (NEEDED[what].some((name) => fields[name] === undefined)) return false;
    const ioctl = { what, us, pid, fields, cleared: [], effectAt: null };
    this.#events.push(ioctl);
    this.#pending.set(pid, ioctl);
    return true;
  }

  #strange(text: string): void {
    this.#notUnderstood++;
    if (this.#firstNotUnderstood === '') this.#firstNotUnderstood = text;
  }

  finish(): Recording {
    return {
      events: this.#events,
      vcpus: this.#vcpus,
      faults: this.#faults,
      mmioFaults: this.#mmioFaults,
      whole: this.#whole,
      initialLeaves: this.#whole ? [] : this.#initial.leaves,
      hugeLeaves: this.#hugeLeaves,
      eagerPageSplit: this.#eagerPageSplit,
      mmuEvents: mmuEventTable(this.#counts.counts),
      lines: this.#lines,
      leftOut: Object.fromEntries([...this.#leftOut].sort(([, a], [, b]) => b - a)),
      notUnderstood: this.#notUnderstood,
      firstNotUnderstood: this.#firstNotUnderstood,
    };
  }
}

/** Reads a recording. Errors: UsageError for a file that is none, or that ends in the middle of an event. */
export async function readRecording(file: string): Promise<Recording> {
  const builder = new RecordingBuilder();
  let understood = true;
  const ended = await readLines(file, (line) => {
    understood = builder.add(line);
  });
  const recording = builder.finish();
  if (!ended && !understood && recording.faults > 0) {
    throw new UsageError(`${file}: the file is cut off in line ${recording.lines}`);
  }
  return recording;
}
