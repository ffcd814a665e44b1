/**
 * The MMU's listener of a measured thread: latencies of faults, how long SPTEs stay frozen, yields, walk steps by operation,
 * and the last SPTE changes. Everything else that the tracepoints tell is in the counters already.
 */
import type { Address } from '../../machine/point.ts';
import { ZERO64 } from '../../machine/word64.ts';
import { MmuCounter } from '../../mmu/counters.ts';
import type { Gfn, Level } from '../../mmu/level.ts';
import { RetPf } from '../../mmu/page-fault-info.ts';
import type { Spte } from '../../mmu/spte.ts';
import type { MmuTrace, TracedOperation } from '../../mmu/trace.ts';
import { Distribution } from './distribution.ts';
import { MMU_EVENTS, MmuEventCounts } from './mmu-events.ts';
import { Operation, operationOf } from './operations.ts';
import { FAULT_OUTCOMES, outcomeIndex } from './outcomes.ts';
import type { Sampler } from './sampler.ts';
import { CHANGE_KINDS, SpteChangeRing } from './spte-changes.ts';
import { DISTRIBUTION_DOUBLES, LiveField, OPERATION_DOUBLES, OperationField, type StatRegion } from './stat-region.ts';

/** So many faults of each thread are timed before sampling begins. */
const TIMED_FIRST = 64;
const UNTIMED = -1;

const PAGE_FAULT = Operation.page_fault;
const CHANGED = CHANGE_KINDS.indexOf('changed');
const FAST = CHANGE_KINDS.indexOf('fast');
const FROZEN = CHANGE_KINDS.indexOf('frozen');
const THAWED = CHANGE_KINDS.indexOf('thawed');

export class MmuRecorder implements MmuTrace {
  readonly #doubles: Float64Array;
  readonly #counters: Float64Array;
  readonly #live: number;
  readonly #operations: number;
  readonly #now: () => number;
  readonly #sampler: Sampler;
  readonly #faults: readonly Distribution[];
  readonly #frozen: Distribution;
  readonly #changes: SpteChangeRing;
  readonly #events: MmuEventCounts;
  #operation = 0;
  #faultsSeen = 0;
  #faultBegan = UNTIMED;
  #faultWeight = 1;
  /** The fast path has dealt with the fault under way. */
  #fast = false;
  #frozenAt = UNTIMED;
  #frozenGfn = 0;
  #frozenLevel = 0;

  constructor(region: StatRegion, thread: number, now: () => number, sampler: Sampler) {
    this.#doubles = region.doubles;
    this.#counters = region.counters(thread);
    this.#live = region.offset(thread, 'live');
    this.#operations = region.offset(thread, 'operations');
    this.#now = now;
    this.#sampler = sampler;
    const faults = region.offset(thread, 'faults');
    this.#faults = FAULT_OUTCOMES.map((_, i) => new Distribution(region, faults + i * DISTRIBUTION_DOUBLES));
    this.#frozen = new Distribution(region, region.offset(thread, 'frozen'));
    this.#changes = new SpteChangeRing(region, thread);
    const events = region.offset(thread, 'mmuEvents');
    this.#events = new MmuEventCounts(region.doubles.subarray(events, events + MMU_EVENTS.length));
  }

  prepared(): void {
    this.#events.counts.fill(0);
  }

  operation(name: TracedOperation): void {
    // Every fault comes by here; it has been announced by `pageFault`.
    if (name === 'tdp_map') return;
    this.#events.operation(name);
    const operation = operationOf(name);
    if (operation !== 0) this.#begin(operation);
  }

  pageFault(_vcpu: number, _gfn: Gfn, errorCode: number): void {
    this.#events.pageFault(errorCode);
    this.#begin(PAGE_FAULT);
    this.#fast = false;
    if (++this.#faultsSeen <= TIMED_FIRST) this.#faultWeight = 1;
    else if (this.#sampler.hit()) this.#faultWeight = this.#sampler.every;
    else {
      this.#faultBegan = UNTIMED;
      return;
    }
    this.#faultBegan = this.#clock();
  }

  pageFaultDone(_vcpu: number, _gfn: Gfn, result: RetPf): void {
    this.#events.pageFaultDone(result);
    if (this.#faultBegan === UNTIMED) return;
    const ns = this.#clock() - this.#faultBegan;
    this.#faults[outcomeIndex(result, this.#fast)].record(ns, this.#faultWeight);
    this.#faultBegan = UNTIMED;
  }

  fastPageFault(
    _vcpu: number,
    gfn: Gfn,
    _errorCode: number,
    _sptep: Address,
    old: Spte,
    next: Spte,
    result: RetPf,
    level: Level,
  ): void {
    this.#fast = result !== RetPf.invalid;
    this.#events.fastPageFault(result === RetPf.fixed, result === RetPf.spurious);
    if (result === RetPf.fixed) this.#changes.record(FAST, 0, gfn, level, old, next);
  }

  spteChanged(asId: number, gfn: Gfn, level: Level, old: Spte, next: Spte): void {
    this.#events.spteChanged(level, old, next);
    this.#changes.record(CHANGED, asId, gfn, level, old, next);
  }

  spteFrozen(_sptep: Address, gfn: Gfn, level: Level): void {
    this.#frozenAt = this.#clock();
    this.#frozenGfn = gfn;
    this.#frozenLevel = level;
    this.#changes.record(FROZEN, 0, gfn, level, ZERO64, ZERO64);
  }

  spteThawed(_sptep: Address): void {
    if (this.#frozenAt === UNTIMED) return;
    this.#frozen.record(this.#clock() - this.#frozenAt, 1);
    this.#frozenAt = UNTIMED;
    this.#changes.record(THAWED, 0, this.#frozenGfn, this.#frozenLevel, ZERO64, ZERO64);
  }

  trySplit(): void {
    this.#events.operation('try_split');
    this.#begin(Operation.try_split_huge_pages);
  }

  wrprotSlot(): void {
    this.#events.operation('wrprot_slot');
    this.#begin(Operation.wrprot_slot);
  }

  clearDirtySlot(): void {
    this.#begin(Operation.clear_dirty_slot);
  }

  clearDirtyPtMasked(): void {
    this.#events.operation('clear_dirty_pt_masked');
    this.#begin(Operation.clear_dirty_pt_masked);
  }

  writeProtectGfn(): void {
    this.#begin(Operation.write_protect_gfn);
  }

  yielded(mode: 'read' | 'write'): void {
    this.#doubles[this.#live + (mode === 'read' ? LiveField.yieldsRead : LiveField.yieldsWrite)]++;
  }

  requested(_gfn: Gfn, _level: Level): void {}

  mapped(result: RetPf): void {
    if (result === RetPf.fixed || result === RetPf.spurious) this.#events.spteSet();
  }

  getPage(_page: number, _gfn: Gfn, level: Level): void {
    this.#events.tableAllocated(level);
  }

  prepareZapPage(_page: number, _gfn: Gfn, level: Level): void {
    this.#events.tableRemoved(level);
  }

  splitHugePage(_gfn: Gfn, _spte: Spte, level: Level, errno: number): void {
    this.#events.split(level, errno);
  }

  flushRange(_gfn: Gfn, _pages: number): void {
    this.#events.operation('flush_range');
  }

  markMmioSpte(_gfn: Gfn, _access: number, _generation: number): void {
    this.#events.operation('mark_mmio_spte');
  }

  iterStart(_minLevel: Level, _gfn: Gfn): void {}
  iterRestart(): void {}
  checkMmioSpte(_spte: Spte, _kvmGeneration: number, _spteGeneration: number): void {}
  handleMmioPageFault(_gfn: Gfn, _access: number): void {}
  unmapHvaRange(_region: number, _first: number, _end: number): void {}
  ageHvaRange(_region: number, _first: number, _end: number): void {}
  markPageDirty(_slot: number, _gfn: Gfn): void {}
  dirtyRingPush(_vcpu: number, _slot: number, _offset: number): void {}
  mmio(_vcpu: number, _gfn: Gfn, _write: boolean): void {}

  #clock(): number {
    const now = this.#now();
    this.#changes.setClock(now);
    return now;
  }

  /** Charges the walk steps since the last operation of another kind began, and begins one of kind `operation`. */
  #begin(operation: number): void {
    const doubles = this.#doubles;
    doubles[this.#operations + operation * OPERATION_DOUBLES + OperationField.begun]++;
    if (operation === this.#operation) return;
    const steps = this.#counters[MmuCounter.iter_steps];
    const restarts = this.#counters[MmuCounter.iter_restarts];
    const last = this.#operations + this.#operation * OPERATION_DOUBLES;
    doubles[last + OperationField.steps] += steps - doubles[this.#live + LiveField.stepsBefore];
    doubles[last + OperationField.restarts] += restarts - doubles[this.#live + LiveField.restartsBefore];
    doubles[this.#live + LiveField.stepsBefore] = steps;
    doubles[this.#live + LiveField.restartsBefore] = restarts;
    doubles[this.#live + LiveField.operation] = operation;
    this.#operation = operation;
  }
}
