/**
 * The cache-line directory: who holds each 64-byte line, until when it is on its way, and what an access to it costs.
 *
 * MESI without capacity: a line is in memory only, exclusive to one CPU (modified or not: both cost the same to take away),
 * or shared by a set of cores. A line serves one transfer at a time, in order of arrival; that alone makes contended locks
 * slow. Memory is taken by the records of lines that were touched.
 *
 * Left out: evictions, prefetching, bandwidth of links and memory, and that hardware serves near requests first.
 */
import { LINE_WORDS } from '../../machine/arena.ts';
import { Cause } from './causes.ts';
import { AHEAD_PS, type PriceList } from './price-list.ts';
import { SharerSets } from './sharer-sets.ts';
import type { Topology } from './topology.ts';

/** A line's record: 32 bytes, so that an access looks at one place of memory. Int32 words and doubles of it by name. */
const RECORD_BYTES = 32;
const RECORD_WORDS = RECORD_BYTES / 4;
const RECORD_DOUBLES = RECORD_BYTES / 8;
const Entry = {
  /** 0: memory only; CPU + 1: exclusive to it; -1: shared. */
  holder: 0,
  /** The set of sharers where shared. */
  sharers: 1,
  /** Counts writes, so that a spinner can tell whether there was one. */
  version: 2,
  /** The last of the circular list of spinners, task + 1, or 0: see `task-ring.ts`. */
  spinners: 3,
} as const;
const Double = {
  /** Until when the line is on its way, in picoseconds. */
  busy: 2,
  /** From when on the line counts as private to its holder: never, once CPUs have taken it from one another. */
  privateFrom: 3,
} as const;
const SHARED = -1;

/** Lines whose records, as far as memory goes, are there or not together: a page of the operating system. */
const PAGE_LINES = 4096 / RECORD_BYTES;

/** A line that CPUs took from one another. */
export interface HotLine {
  /** First word of the line. */
  readonly address: number;
  /** Time of its transfers between CPUs, in nanoseconds: queueing included, waiting for another value of its words not. */
  readonly stallNs: number;
}

export class LineDirectory {
  /** The records of all lines; pages that were never touched take no memory. */
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #prices: PriceList;
  readonly #coreOf: Int32Array;
  readonly #socketOfCore: Int32Array;
  readonly #sets: SharerSets;
  readonly #accounts: Float64Array;
  readonly #hit: number;
  readonly #atomic: number;
  /** Pages of records in use, one byte each. */
  readonly #pages: Uint8Array;
  /** Time of the transfers between CPUs, queueing included, by line: of those that moved at all. */
  readonly #stalls = new Map<number, Float64Array>();
  #pageCount = 0;

  /** `accounts` gets the time of each access, in the row that begins at the `row` of the call. */
  constructor(words: number, topology: Topology, prices: PriceList, accounts: Float64Array) {
    const pages = Math.ceil(words / LINE_WORDS / PAGE_LINES);
    const records = new ArrayBuffer(pages * 4096);
    this.#words = new Int32Array(records);
    this.#doubles = new Float64Array(records);
    this.#pages = new Uint8Array(pages);
    this.#prices = prices;
    this.#hit = prices.hit;
    this.#atomic = prices.atomic;
    this.#coreOf = topology.coreOf;
    this.#socketOfCore = topology.socketOfCore;
    this.#sets = new SharerSets(topology);
    this.#accounts = accounts;
  }

  /** Bytes held for the lines touched so far. */
  get bytes(): number {
    return (this.#pageCount + 2 * this.#stalls.size) * 4096 + this.#sets.bytes;
  }

  /** When a load of `line` by `cpu` that begins at `time` is done. */
  read(cpu: number, line: number, time: number, row: number): number {
    const at = line * RECORD_WORDS;
    const words = this.#words;
    const holder = words[at];
    const hit = this.#hit;
    this.#accounts[row + Cause.access] += hit;
    if (holder === cpu + 1) return time + hit;
    if (holder === SHARED && this.#sets.has(words[at + Entry.sharers], this.#coreOf[cpu])) return time + hit;
    return this.#readMiss(cpu, line, time, row) + hit;
  }

  /** Whether a load of `line` by `cpu` would hit. */
  hits(cpu: number, line: number): boolean {
    const at = line * RECORD_WORDS;
    const words = this.#words;
    const holder = words[at];
    return holder === cpu + 1 || (holder === SHARED && this.#sets.has(words[at + Entry.sharers], this.#coreOf[cpu]));
  }

  /**
   * Whether `line` is exclusive to `cpu` and as good as private at `time`: never taken from anybody, held for so long that whoever
   * lags behind would have asked for it, and nobody waits for it.
   */
  isPrivate(cpu: number, line: number, time: number): boolean {
    const at = line * RECORD_WORDS;
    const words = this.#words;
    if (words[at] !== cpu + 1 || words[at + Entry.spinners] !== 0) return false;
    return this.#doubles[line * RECORD_DOUBLES + Double.privateFrom] <= time;
  }

  /** When an atomic update of `line` by `cpu` that begins at `time`, its older stores drained, is done. */
  update(cpu: number, line: number, time: number, row: number): number {
    const at = line * RECORD_WORDS;
    const words = this.#words;
    const doubles = this.#doubles;
    const busyAt = line * RECORD_DOUBLES + Double.busy;
    words[at + Entry.version]++;
    const atomic = this.#atomic;
    this.#accounts[row + Cause.access] += atomic;
    let done = time + atomic;
    if (words[at] !== cpu + 1) done = this.#take(cpu, line, time, row) + atomic;
    else if (doubles[busyAt] > time) {
      this.#accounts[row + Cause.lineQueue] += doubles[busyAt] - time;
      done = doubles[busyAt] + atomic;
    }
    doubles[busyAt] = done;
    return done;
  }

  /**
   * When a plain store of `line` by `cpu` is visible to others. The CPU does not wait for it: the caller charges only what the
   * store buffer cannot hide. `drained` is when its older stores are visible.
   */
  store(cpu: number, line: number, time: number, drained: number): number {
    const at = line * RECORD_WORDS;
    const words = this.#words;
    const doubles = this.#doubles;
    const busyAt = line * RECORD_DOUBLES + Double.busy;
    words[at + Entry.version]++;
    let done = time;
    if (words[at] !== cpu + 1) done = this.#take(cpu, line, time, -1);
    else if (doubles[busyAt] > done) done = doubles[busyAt];
    if (drained > done) done = drained;
    doubles[busyAt] = done;
    return done;
  }

  /** The lines from `first` to before `end` are in the cache of `cpu` alone from now on, as after it has cleared the memory. */
  claim(cpu: number, first: number, end: number): void {
    const words = this.#words;
    const doubles = this.#doubles;
    for (let line = first; line < end; line++) {
      const at = line * RECORD_WORDS;
      if (words[at] === SHARED) this.#sets.free(words[at + Entry.sharers]);
      else if (words[at] === 0) this.#touch(line);
      words[at] = cpu + 1;
      words[at + Entry.version]++;
      doubles[line * RECORD_DOUBLES + Double.privateFrom] = 0;
    }
  }

  version(line: number): number {
    return this.#words[line * RECORD_WORDS + Entry.version];
  }

  /** The last spinner on `line`, task + 1, or 0. */
  spinners(line: number): number {
    return this.#words[line * RECORD_WORDS + Entry.spinners];
  }

  setSpinners(line: number, last: number): void {
    this.#words[line * RECORD_WORDS + Entry.spinners] = last;
  }

  /** Until when `line` is on its way. */
  busyUntil(line: number): number {
    return this.#doubles[line * RECORD_DOUBLES + Double.busy];
  }

  /** The `n` lines whose transfers between CPUs took most time, the worst first. */
  hottest(n: number): HotLine[] {
    const all: HotLine[] = [];
    for (const [page, stalls] of this.#stalls) {
      stalls.forEach((ps, i) => {
        if (ps > 0) all.push({ address: (page * PAGE_LINES + i) * LINE_WORDS, stallNs: ps / 1000 });
      });
    }
    return all.sort((a, b) => b.stallNs - a.stallNs || a.address - b.address).slice(0, n);
  }

  #readMiss(cpu: number, line: number, time: number, row: number): number {
    const at = line * RECORD_WORDS;
    const words = this.#words;
    const doubles = this.#doubles;
    const busyAt = line * RECORD_DOUBLES + Double.busy;
    const holder = words[at];
    const core = this.#coreOf[cpu];
    const start = doubles[busyAt] > time ? doubles[busyAt] : time;
    let latency: number;
    if (holder === 0) {
      latency = this.#prices.memory;
      words[at] = cpu + 1;
      doubles[busyAt] = start + latency;
      doubles[line * RECORD_DOUBLES + Double.privateFrom] = start + latency + AHEAD_PS;
      this.#touch(line);
    } else if (holder === SHARED) {
      const set = words[at + Entry.sharers];
      latency = (this.#sets.sockets(set) >>> this.#socketOfCore[core]) & 1 ? this.#prices.socket : this.#prices.remote;
      this.#sets.add(set, core);
      doubles[busyAt] = start + this.#prices.fanout;
    } else {
      const other = this.#coreOf[holder - 1];
      if (other === core) return time; // the threads of a core read one cache
      latency = this.#socketOfCore[other] === this.#socketOfCore[core] ? this.#prices.socket : this.#prices.remote;
      words[at] = SHARED;
      words[at + Entry.sharers] = this.#sets.create(other, core);
      doubles[busyAt] = start + latency;
    }
    this.#charge(line, holder, row, start - time, latency);
    return start + latency;
  }

  /** Makes `line` exclusive to `cpu` and returns when it is; whoever else had it loses it. */
  #take(cpu: number, line: number, time: number, row: number): number {
    const at = line * RECORD_WORDS;
    const words = this.#words;
    const doubles = this.#doubles;
    const busy = doubles[line * RECORD_DOUBLES + Double.busy];
    const holder = words[at];
    const core = this.#coreOf[cpu];
    const start = busy > time ? busy : time;
    let latency: number;
    if (holder === 0) {
      latency = this.#prices.memory;
      this.#touch(line);
    } else if (holder === SHARED) {
      const set = words[at + Entry.sharers];
      const others = this.#sets.sockets(set) & ~(1 << this.#socketOfCore[core]);
      latency = others === 0 ? this.#prices.socket : this.#prices.remote;
      this.#sets.free(set);
    } else {
      const other = this.#coreOf[holder - 1];
      if (other === core) latency = this.#prices.sibling;
      else latency = this.#socketOfCore[other] === this.#socketOfCore[core] ? this.#prices.socket : this.#prices.remote;
    }
    words[at] = cpu + 1;
    doubles[line * RECORD_DOUBLES + Double.privateFrom] = holder === 0 ? start + latency + AHEAD_PS : Number.POSITIVE_INFINITY;
    this.#charge(line, holder, row, start - time, latency);
    return start + latency;
  }

  #charge(line: number, holder: number, row: number, queued: number, latency: number): void {
    if (row >= 0) {
      this.#accounts[row + Cause.lineQueue] += queued;
      this.#accounts[row + Cause.lineTransfer] += latency;
    }
    if (holder === 0) return;
    const page = Math.floor(line / PAGE_LINES);
    let stalls = this.#stalls.get(page);
    if (stalls === undefined) {
      stalls = new Float64Array(PAGE_LINES);
      this.#stalls.set(page, stalls);
    }
    stalls[line % PAGE_LINES] += queued + latency;
  }

  /** The record of `line` is used for the first time. */
  #touch(line: number): void {
    const page = Math.floor(line / PAGE_LINES);
    if (this.#pages[page] !== 0) return;
    this.#pages[page] = 1;
    this.#pageCount++;
  }
}
