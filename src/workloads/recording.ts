/**
 * What a recorded trace holds, after one pass over its lines: faults, ioctls, invalidations, and what tells the host's memory.
 */
import { parseFields, parseFtraceLine, parseLeaf, parsePageFault, parseUnmapRange } from './ftrace-line.ts';
import { readLines } from './ftrace-reader.ts';
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
}

export interface RecordedIoctl {
  readonly what: 'memslot' | 'get' | 'clear' | 'cap';
  readonly us: number;
  readonly pid: number;
  readonly fields: Readonly<Record<string, number>>;
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

export type RecordedEvent = RecordedFault | RecordedIoctl | RecordedDone | RecordedUnmap;

export interface Recording {
  /** In recorded order. */
  readonly events: readonly RecordedEvent[];
  readonly vcpus: number;
  readonly faults: number;
  /** Of them accesses to pages that were known to be MMIO. */
  readonly mmioFaults: number;
  /** Whether it begins before the VM's first vCPU was created, so that it tells the whole story of the VM. */
  readonly whole: boolean;
  /** Huge leaves that were seen: gfn and level. */
  readonly hugeLeaves: readonly { readonly gfn: number; readonly level: number }[];
  /** kvm.eager_page_split, where the recorder noted it. */
  readonly eagerPageSplit: boolean | null;
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

/** Collects a recording from its lines. */
export class RecordingBuilder {
  readonly #events: RecordedEvent[] = [];
  readonly #leftOut = new Map<string, number>();
  readonly #hugeLeaves: { gfn: number; level: number }[] = [];
  /** vCPUs by the thread that runs them, where faults do not tell. */
  readonly #vcpuOf = new Map<number, number>();
  readonly #pending = new Set<number>();
  #vcpus = 0;
  #faults = 0;
  #mmioFaults = 0;
  #whole = false;
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
    if (line !== null && this.#event(line.event, line.text, line.us, line.pid)) return true;
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

  #fault(text: string, us: number, pid: number): boolean {
    const fault = parsePageFault(text);
    if (fault === null) return false;
    let { vcpu } = fault;
    if (vcpu === null) {
      vcpu = this.#vcpuOf.get(pid) ?? this.#vcpuOf.size;
      this.#vcpuOf.set(pid, vcpu);
    }
    const { gfn, present, reserved, write, exec } = fault;
    this.#events.push({ what: 'fault', us, vcpu, gfn, access: write ? 'write' : exec ? 'exec' : 'read', present, reserved });
    this.#vcpus = Math.max(this.#vcpus, vcpu + 1);
    this.#faults++;
    if (reserved) this.#mmioFaults++;
    return true;
  }

  #ioctl(what: RecordedIoctl['what'], text: string, us: number, pid: number): boolean {
    const fields = parseFields(text);
    if (NEEDED[what].some((name) => fields[name] === undefined)) return false;
    this.#events.push({ what, us, pid, fields });
    this.#pending.add(pid);
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
      hugeLeaves: this.#hugeLeaves,
      eagerPageSplit: this.#eagerPageSplit,
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
