/**
 * Listens to the MMU's tracepoints and to mmu_lock, and writes down what recordings of a real kernel hold: events in order,
 * each with the thread that it happened on, and SPTE changes folded into runs.
 */
import { LockNumber } from '../../machine/lock-number.ts';
import type { Address } from '../../machine/point.ts';
import { LockMode, type Probe } from '../../machine/probe.ts';
import { equal64, hex64 } from '../../machine/word64.ts';
import type { Geometry, Gfn, Level } from '../../mmu/level.ts';
import { PfErr, RetPf } from '../../mmu/page-fault-info.ts';
import type { Spte } from '../../mmu/spte.ts';
import type { MmuTrace, TracedOperation } from '../../mmu/trace.ts';
import { hex, type PhaseCall, type PhaseEvent } from './event.ts';
import { extendRun, type SpteRun } from './spte-run.ts';
import type { TracePoints } from './trace-points.ts';

type Fields = Readonly<Record<string, string | number>>;

const RET_NAMES: Readonly<Record<number, string>> = {
  [RetPf.retry]: 'RETRY',
  [RetPf.emulate]: 'EMULATE',
  [RetPf.writeProtected]: 'WRITE_PROTECTED',
  [RetPf.invalid]: 'INVALID',
  [RetPf.fixed]: 'FIXED',
  [RetPf.spurious]: 'SPURIOUS',
};

/** The letters of an error code, in the order of the recordings. */
export function errorLetters(code: number): string {
  const letters: readonly (readonly [number, string])[] = [
    [PfErr.present, 'P'],
    [PfErr.write, 'W'],
    [PfErr.user, 'U'],
    [PfErr.fetch, 'F'],
    [PfErr.reserved, 'RSVD'],
  ];
  return letters.map(([bit, letter]) => ((code & bit) !== 0 ? letter : '')).join('');
}

export interface NumberedCall extends PhaseCall {
  readonly number: number;
}

export interface TakenEvents {
  readonly events: readonly PhaseEvent[];
  readonly numbers: readonly number[];
  readonly calls: readonly NumberedCall[];
}

/** The events of the phase in progress, of all threads of a VM, and what is common to their recorders. */
export class EventLog {
  /** Set when the first handle on the VM is made. */
  geometry!: Geometry;
  readonly points: TracePoints;
  /** Whether a change is to be written down: recordings may have been made with a filter. */
  wanted: (next: Spte) => boolean = () => true;
  /** Called for every event, before folding. */
  listener: ((event: PhaseEvent) => void) | null = null;
  /** kvm_mmu_zap_all_fast so far: the parity is mmu_valid_gen. */
  zapAlls = 0;
  /** Entries pushed to each vCPU's dirty ring. */
  readonly pushes: number[] = [];
  /** Byte within the page that each vCPU accesses. */
  readonly offsets: number[] = [];
  readonly #next: () => number;
  #events: PhaseEvent[] = [];
  #numbers: number[] = [];
  #calls: NumberedCall[] = [];
  /** The number given last: of an event, or of a change within a run. */
  #last = -1;

  /** @param next numbers events, ascending; threads that run beside each other share the numbers, so that there is one order */
  constructor(points: TracePoints, next: () => number = counter()) {
    this.points = points;
    this.#next = next;
  }

  /** The events so far; the log is empty then. */
  take(): readonly PhaseEvent[] {
    return this.takeNumbered().events;
  }

  /** As {@link take}, with the number of each event, of a run of changes that of its first; and with the calls among them. */
  takeNumbered(): TakenEvents {
    const taken = { events: this.#events, numbers: this.#numbers, calls: this.#calls };
    this.#events = [];
    this.#numbers = [];
    this.#calls = [];
    return taken;
  }

  /** An operation of the script, number `index` of its phase, begins or ends on thread `by`. */
  call(by: string, index: number, ends: boolean): void {
    const number = this.#next();
    this.#calls.push({ at: this.#events.length, by, index, ends, number });
    // It does not come between two changes of a run.
    if (number === this.#last + 1) this.#last = number;
  }

  add(e: string, by: string, fields: Fields = {}, detail?: Fields): void {
    if (this.points.absent.includes(e)) return;
    const event: PhaseEvent = detail === undefined ? { e, by, fields } : { e, by, fields, detail };
    this.listener?.(event);
    this.#push(event, this.#next());
  }

  addChange(run: SpteRun): void {
    if (!this.wanted(run.next)) return;
    const event = { e: 'spte', by: run.by, run } as const;
    this.listener?.(event);
    const number = this.#next();
    const last = this.#events.at(-1);
    // Nobody else's event is in the middle of a run.
    if (number === this.#last + 1 && last !== undefined && 'run' in last) {
      this.#last = number;
      if (extendRun(last.run, run, this.geometry.span(run.level))) return;
    }
    this.#push(event, number);
  }

  #push(event: PhaseEvent, number: number): void {
    this.#events.push(event);
    this.#numbers.push(number);
    this.#last = number;
  }
}

/** 0, 1, 2, … */
function counter(): () => number {
  let next = 0;
  return () => next++;
}

/** One thread's listener. */
export class Recorder implements MmuTrace, Probe {
  readonly log: EventLog;
  /** The name under which events appear. */
  by: string;

  constructor(log: EventLog, by: string) {
    this.log = log;
    this.by = by;
  }

  #add(e: string, fields?: Fields, detail?: Fields): void {
    this.log.add(e, this.by, fields, detail);
  }

  operation(name: TracedOperation): void {
    if (name === 'alloc_root') {
      if (this.log.points.rootAllocation === 'alloc_root') this.#add('alloc_root');
      else this.#rootPending = true;
    } else if (name === 'kvm_mmu_zap_all_fast') {
      this.#add(name, { text: `kvm-mmu-valid-gen ${this.log.zapAlls++ & 1} used_pages 0` });
    } else {
      this.#add(name);
    }
  }

  /** A root is about to be allocated under mmu_lock. */
  #rootPending = false;

  pageFault(vcpu: number, gfn: Gfn, errorCode: number): void {
    this.#add('npf', { vcpu, gfn: hex(gfn), err: errorLetters(errorCode) }, { error: errorCode });
  }

  pageFaultDone(_vcpu: number, gfn: Gfn, result: number): void {
    this.#add('tdp_page_fault_ret', { ret: result < 0 ? result : RET_NAMES[result] }, { gfn: hex(gfn), code: result });
  }

  requested(gfn: Gfn, level: Level): void {
    this.#add('requested', { gfn: hex(gfn), level });
  }

  mapped(result: RetPf): void {
    this.#add('tdp_map_ret', { ret: RET_NAMES[result] });
  }

  fastPageFault(
    vcpu: number,
    gfn: Gfn,
    errorCode: number,
    sptep: Address,
    old: Spte,
    next: Spte,
    result: RetPf,
    level: Level,
  ): void {
    const ret = result === RetPf.invalid ? 'not-handled' : RET_NAMES[result];
    this.#add(
      'fast_page_fault',
      { vcpu, gfn: hex(gfn), old: hex64(old), new: hex64(next), ret },
      { error: errorCode, sptep: hex(sptep) },
    );
    if (equal64(old, next)) return;
    const base = this.log.geometry.round(gfn, level);
    this.log.addChange({ asId: 0, gfn: base, level, old, next, by: this.by, fast: true, n: 1, stepOld: false, stepNew: false });
  }

  spteChanged(asId: number, gfn: Gfn, level: Level, old: Spte, next: Spte): void {
    this.log.addChange({ asId, gfn, level, old, next, by: this.by, fast: false, n: 1, stepOld: false, stepNew: false });
  }

  // Frozen entries appear as changes where the kernel reports them.
  spteFrozen(): void {}
  spteThawed(): void {}

  getPage(page: number, gfn: Gfn, level: Level): void {
    this.#add('new_table', { gfn: hex(gfn), level }, { page });
  }

  prepareZapPage(_page: number, gfn: Gfn, level: Level): void {
    this.#add('table_removed', { gfn: hex(gfn), table_level: level });
  }

  splitHugePage(gfn: Gfn, spte: Spte, level: Level, errno: number): void {
    this.#add('split_huge_page', { gfn: hex(gfn), level, errno }, { spte: hex64(spte) });
  }

  iterStart(minLevel: Level, gfn: Gfn): void {
    this.#add('iter_start', { min_level: minLevel, gfn: hex(gfn) });
  }

  iterRestart(): void {
    this.#add('iter_restart');
  }

  yielded(mode: 'read' | 'write'): void {
    this.#add(`yield_${mode}`);
  }

  trySplit(start: Gfn, end: Gfn, target: Level, shared: boolean): void {
    this.#add('try_split', { start: hex(start), end: hex(end), target, shared: shared ? 1 : 0 });
  }

  wrprotSlot(minLevel: Level): void {
    this.#add('wrprot_slot', { min_level: minLevel });
  }

  clearDirtySlot(): void {
    this.#add('clear_dirty_slot');
  }

  writeProtectGfn(gfn: Gfn, minLevel: Level): void {
    this.#add('write_protect_gfn', { gfn: hex(gfn), min_level: minLevel });
  }

  clearDirtyPtMasked(gfn: Gfn, mask: bigint, wrprot: boolean): void {
    this.#add('clear_dirty_pt_masked', { gfn: hex(gfn), mask: `0x${mask.toString(16)}`, wrprot: wrprot ? 1 : 0 });
  }

  flushRange(gfn: Gfn, pages: number): void {
    this.#add('flush_range', { gfn: hex(gfn), n: pages });
  }

  markMmioSpte(gfn: Gfn, access: number, generation: number): void {
    this.#add('mark_mmio_spte', { text: `gfn ${gfn.toString(16)} access ${access.toString(16)} gen ${generation.toString(16)}` });
  }

  checkMmioSpte(spte: Spte, kvmGeneration: number, spteGeneration: number): void {
    const valid = kvmGeneration === spteGeneration ? 1 : 0;
    const value = hex64(spte).slice(2);
    const generations = `kvm_gen ${kvmGeneration.toString(16)} spte-gen ${spteGeneration.toString(16)}`;
    this.#add('check_mmio_spte', { text: `spte ${value} ${generations} valid ${valid}` });
  }

  handleMmioPageFault(gfn: Gfn, access: number): void {
    this.#add('handle_mmio_page_fault', { text: `addr:0 gfn ${gfn.toString(16)} access ${access.toString(16)}` });
  }

  unmapHvaRange(region: number, first: number, end: number): void {
    this.#add('kvm_unmap_hva_range', { text: `memory ${region} pages ${hex(first)} -- ${hex(end)}` });
  }

  ageHvaRange(region: number, first: number, end: number): void {
    this.#add('kvm_age_hva', { text: `memory ${region} pages ${hex(first)} -- ${hex(end)}` });
  }

  // Recordings show the dirty log by what GET reports.
  markPageDirty(): void {}

  dirtyRingPush(vcpu: number, slot: number, offset: number): void {
    const dirty = (this.log.pushes[vcpu] ?? 0) + 1;
    this.log.pushes[vcpu] = dirty;
    this.#add('kvm_dirty_ring_push', { text: `ring ${vcpu}: dirty ${hex(dirty)} slot ${slot} offset ${hex(offset)}` });
  }

  mmio(vcpu: number, gfn: Gfn, write: boolean): void {
    const gpa = hex(gfn * 4096 + (this.log.offsets[vcpu] ?? 0));
    if (!write) this.#add('kvm_mmio', { text: `mmio unsatisfied-read len 4 gpa ${gpa}` });
    this.#add('kvm_mmio', { text: `mmio ${write ? 'write' : 'read'} len 4 gpa ${gpa}` });
  }

  lockAttempt(lock: number, mode: LockMode): void {
    if (lock !== LockNumber.mmuLock) return;
    this.#add(mode === LockMode.read ? 'mmu_lock.read_lock' : 'mmu_lock.write_lock');
    if (this.#rootPending) this.#add('get_root_hpa');
    this.#rootPending = false;
  }

  lockReleased(lock: number, mode: LockMode): void {
    if (lock === LockNumber.mmuLock) this.#add(mode === LockMode.read ? 'mmu_lock.read_unlock' : 'mmu_lock.write_unlock');
  }

  lockContended(): void {}
  lockAcquired(): void {}
  rcuReadLock(): void {}
  rcuReadUnlock(): void {}
  rcuGracePeriod(): void {}
  flushRequested(): void {}
  flushDone(): void {}
  pageAllocated(): void {}
  pageFreed(): void {}
}
