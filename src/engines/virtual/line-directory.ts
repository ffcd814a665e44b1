/**
 * The cache-line directory: who holds each 64-byte line, until when it is on its way, and what an access to it costs.
 *
 * MESI without capacity: a line is in memory only, exclusive to one CPU (modified or not: both cost the same to take away),
 * or shared by a set of cores. A line serves one transfer at a time, in order of arrival; that alone makes contended locks
 * slow. Entries exist for lines that were touched, in chunks.
 *
 * Left out: evictions, prefetching, bandwidth of links and memory, and that hardware serves near requests first.
 */
import { LINE_WORDS } from '../../machine/arena.ts';
import { Cause } from './causes.ts';
import { AHEAD_PS, type PriceList } from './price-list.ts';
import { SharerSets } from './sharer-sets.ts';
import type { Topology } from './topology.ts';

const CHUNK_SHIFT = 9;
const CHUNK_LINES = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_LINES - 1;

/** Words of a line's entry. */
const Entry = {
  /** 0: memory only; CPU + 1: exclusive to it; -1: shared. */
  holder: 0,
  /** The set of sharers where shared. */
  sharers: 1,
  /** Counts writes, so that a spinner can tell whether there was one. */
  version: 2,
  /** The last of the circular list of spinners, task + 1, or 0: see `spinners.ts`. */
  spinners: 3,
} as const;
const SHARED = -1;

class LineChunk {
  readonly entries = new Int32Array(4 * CHUNK_LINES);
  /** Until when each line is on its way, in picoseconds. */
  readonly busy = new Float64Array(CHUNK_LINES);
  /** From when on each line counts as private to its holder: never, once CPUs have taken it from one another. */
  readonly privateFrom = new Float64Array(CHUNK_LINES);
  /** Time of each line's transfers between CPUs, queueing included; made when there is some. */
  stalls: Float64Array | null = null;
}

/** A line that CPUs took from one another. */
export interface HotLine {
  /** First word of the line. */
  readonly address: number;
  /** Time of its transfers between CPUs, in nanoseconds: queueing included, waiting for another value of its words not. */
  readonly stallNs: number;
}

export class LineDirectory {
  readonly #chunks: (LineChunk | undefined)[];
  readonly #prices: PriceList;
  readonly #coreOf: Int32Array;
  readonly #socketOfCore: Int32Array;
  readonly #sets: SharerSets;
  readonly #accounts: Float64Array;
  #chunkCount = 0;

  /** `accounts` gets the time of each access, in the row that begins at the `row` of the call. */
  constructor(words: number, topology: Topology, prices: PriceList, accounts: Float64Array) {
    this.#chunks = new Array(Math.ceil(words / LINE_WORDS / CHUNK_LINES)).fill(undefined);
    this.#prices = prices;
    this.#coreOf = topology.coreOf;
    this.#socketOfCore = topology.socketOfCore;
    this.#sets = new SharerSets(topology);
    this.#accounts = accounts;
  }

  /** Bytes held for the lines touched so far. */
  get bytes(): number {
    return this.#chunkCount * CHUNK_LINES * 32 + this.#sets.bytes;
  }

  /** When a load of `line` by `cpu` that begins at `time` is done. */
  read(cpu: number, line: number, time: number, row: number): number {
    const chunk = this.#chunks[line >> CHUNK_SHIFT] ?? this.#touch(line >> CHUNK_SHIFT);
    const at = (line & CHUNK_MASK) << 2;
    const holder = chunk.entries[at];
    const hit = this.#prices.hit;
    this.#accounts[row + Cause.access] += hit;
    if (holder === cpu + 1) return time + hit;
    if (holder === SHARED && this.#sets.has(chunk.entries[at + Entry.sharers], this.#coreOf[cpu])) return time + hit;
    return this.#readMiss(chunk, cpu, line, time, row) + hit;
  }

  /** Whether a load of `line` by `cpu` would hit. */
  hits(cpu: number, line: number): boolean {
    const chunk = this.#chunks[line >> CHUNK_SHIFT];
    if (chunk === undefined) return false;
    const at = (line & CHUNK_MASK) << 2;
    const holder = chunk.entries[at];
    return holder === cpu + 1 || (holder === SHARED && this.#sets.has(chunk.entries[at + Entry.sharers], this.#coreOf[cpu]));
  }

  /**
   * Whether `line` is exclusive to `cpu` and as good as private at `time`: never taken from anybody, held for so long that whoever
   * lags behind would have asked for it, and nobody waits for it.
   */
  isPrivate(cpu: number, line: number, time: number): boolean {
    const chunk = this.#chunks[line >> CHUNK_SHIFT];
    if (chunk === undefined) return false;
    const i = line & CHUNK_MASK;
    const { entries } = chunk;
    return entries[i << 2] === cpu + 1 && chunk.privateFrom[i] <= time && entries[(i << 2) + Entry.spinners] === 0;
  }

  /** When an atomic update of `line` by `cpu` that begins at `time`, its older stores drained, is done. */
  update(cpu: number, line: number, time: number, row: number): number {
    const chunk = this.#chunks[line >> CHUNK_SHIFT] ?? this.#touch(line >> CHUNK_SHIFT);
    const i = line & CHUNK_MASK;
    const at = i << 2;
    const { entries } = chunk;
    entries[at + Entry.version]++;
    const atomic = this.#prices.atomic;
    this.#accounts[row + Cause.access] += atomic;
    let done = time + atomic;
    if (entries[at] !== cpu + 1) done = this.#take(chunk, cpu, line, time, row) + atomic;
    else if (chunk.busy[i] > time) {
      this.#accounts[row + Cause.lineQueue] += chunk.busy[i] - time;
      done = chunk.busy[i] + atomic;
    }
    chunk.busy[i] = done;
    return done;
  }

  /**
   * When a plain store of `line` by `cpu` is visible to others. The CPU does not wait for it: the caller charges only what the
   * store buffer cannot hide. `drained` is when its older stores are visible.
   */
  store(cpu: number, line: number, time: number, drained: number): number {
    const chunk = this.#chunks[line >> CHUNK_SHIFT] ?? this.#touch(line >> CHUNK_SHIFT);
    const i = line & CHUNK_MASK;
    chunk.entries[(i << 2) + Entry.version]++;
    let done = time;
    if (chunk.entries[i << 2] !== cpu + 1) done = this.#take(chunk, cpu, line, time, -1);
    else if (chunk.busy[i] > done) done = chunk.busy[i];
    if (drained > done) done = drained;
    chunk.busy[i] = done;
    return done;
  }

  /** The line is in the cache of `cpu` alone from now on, as after it has cleared the memory. */
  claim(cpu: number, line: number): void {
    const chunk = this.#chunks[line >> CHUNK_SHIFT] ?? this.#touch(line >> CHUNK_SHIFT);
    const at = (line & CHUNK_MASK) << 2;
    if (chunk.entries[at] === SHARED) this.#sets.free(chunk.entries[at + Entry.sharers]);
    chunk.entries[at] = cpu + 1;
    chunk.entries[at + Entry.version]++;
    chunk.privateFrom[line & CHUNK_MASK] = 0;
  }

  version(line: number): number {
    const chunk = this.#chunks[line >> CHUNK_SHIFT] ?? this.#touch(line >> CHUNK_SHIFT);
    return chunk.entries[((line & CHUNK_MASK) << 2) + Entry.version];
  }

  /** The last spinner on `line`, task + 1, or 0. */
  spinners(line: number): number {
    const chunk = this.#chunks[line >> CHUNK_SHIFT];
    return chunk === undefined ? 0 : chunk.entries[((line & CHUNK_MASK) << 2) + Entry.spinners];
  }

  setSpinners(line: number, last: number): void {
    const chunk = this.#chunks[line >> CHUNK_SHIFT] ?? this.#touch(line >> CHUNK_SHIFT);
    chunk.entries[((line & CHUNK_MASK) << 2) + Entry.spinners] = last;
  }

  /** Until when `line` is on its way. */
  busyUntil(line: number): number {
    return this.#chunks[line >> CHUNK_SHIFT]?.busy[line & CHUNK_MASK] ?? 0;
  }

  /** The `n` lines whose transfers between CPUs took most time, the worst first. */
  hottest(n: number): HotLine[] {
    const all: HotLine[] = [];
    this.#chunks.forEach((chunk, c) => {
      chunk?.stalls?.forEach((ps, i) => {
        if (ps > 0) all.push({ address: (c * CHUNK_LINES + i) * LINE_WORDS, stallNs: ps / 1000 });
      });
    });
    return all.sort((a, b) => b.stallNs - a.stallNs || a.address - b.address).slice(0, n);
  }

  #readMiss(chunk: LineChunk, cpu: number, line: number, time: number, row: number): number {
    const i = line & CHUNK_MASK;
    const at = i << 2;
    const { entries, busy } = chunk;
    const holder = entries[at];
    const core = this.#coreOf[cpu];
    const start = busy[i] > time ? busy[i] : time;
    let latency: number;
    if (holder === 0) {
      latency = this.#prices.memory;
      entries[at] = cpu + 1;
      busy[i] = start + latency;
      chunk.privateFrom[i] = start + latency + AHEAD_PS;
    } else if (holder === SHARED) {
      const set = entries[at + Entry.sharers];
      latency = (this.#sets.sockets(set) >>> this.#socketOfCore[core]) & 1 ? this.#prices.socket : this.#prices.remote;
      this.#sets.add(set, core);
      busy[i] = start + this.#prices.fanout;
    } else {
      const other = this.#coreOf[holder - 1];
      if (other === core) return time; // the threads of a core read one cache
      latency = this.#socketOfCore[other] === this.#socketOfCore[core] ? this.#prices.socket : this.#prices.remote;
      entries[at] = SHARED;
      entries[at + Entry.sharers] = this.#sets.create(other, core);
      busy[i] = start + latency;
    }
    this.#charge(chunk, i, holder, row, start - time, latency);
    return start + latency;
  }

  /** Makes `line` exclusive to `cpu` and returns when it is; whoever else had it loses it. */
  #take(chunk: LineChunk, cpu: number, line: number, time: number, row: number): number {
    const i = line & CHUNK_MASK;
    const at = i << 2;
    const { entries } = chunk;
    const holder = entries[at];
    const core = this.#coreOf[cpu];
    const start = chunk.busy[i] > time ? chunk.busy[i] : time;
    let latency: number;
    if (holder === 0) {
      latency = this.#prices.memory;
    } else if (holder === SHARED) {
      const set = entries[at + Entry.sharers];
      const others = this.#sets.sockets(set) & ~(1 << this.#socketOfCore[core]);
      latency = others === 0 ? this.#prices.socket : this.#prices.remote;
      this.#sets.free(set);
    } else {
      const other = this.#coreOf[holder - 1];
      if (other === core) latency = this.#prices.sibling;
      else latency = this.#socketOfCore[other] === this.#socketOfCore[core] ? this.#prices.socket : this.#prices.remote;
    }
    entries[at] = cpu + 1;
    chunk.privateFrom[i] = holder === 0 ? start + latency + AHEAD_PS : Number.POSITIVE_INFINITY;
    this.#charge(chunk, i, holder, row, start - time, latency);
    return start + latency;
  }

  #charge(chunk: LineChunk, i: number, holder: number, row: number, queued: number, latency: number): void {
    if (row >= 0) {
      this.#accounts[row + Cause.lineQueue] += queued;
      this.#accounts[row + Cause.lineTransfer] += latency;
    }
    if (holder === 0) return;
    chunk.stalls ??= new Float64Array(CHUNK_LINES);
    chunk.stalls[i] += queued + latency;
  }

  #touch(index: number): LineChunk {
    const chunk = new LineChunk();
    this.#chunks[index] = chunk;
    this.#chunkCount++;
    return chunk;
  }
}
