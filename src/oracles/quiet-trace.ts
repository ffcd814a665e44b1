/** A listener of the MMU's tracepoints that hears nothing: what others override in part. */
import type { Address } from '../machine/point.ts';
import type { Gfn, Level, Pfn } from '../mmu/level.ts';
import type { RetPf } from '../mmu/page-fault-info.ts';
import type { Spte } from '../mmu/spte.ts';
import type { MmuTrace, TracedOperation } from '../mmu/trace.ts';

export class QuietTrace implements MmuTrace {
  operation(_name: TracedOperation): void {}
  pageFault(_vcpu: number, _gfn: Gfn, _errorCode: number): void {}
  pageFaultDone(_vcpu: number, _gfn: Gfn, _result: number): void {}
  requested(_gfn: Gfn, _level: Level): void {}
  mapped(_result: RetPf): void {}
  fastPageFault(
    _vcpu: number,
    _gfn: Gfn,
    _errorCode: number,
    _sptep: Address,
    _old: Spte,
    _next: Spte,
    _result: RetPf,
    _level: Level,
  ): void {}
  spteChanged(_asId: number, _gfn: Gfn, _level: Level, _old: Spte, _next: Spte): void {}
  spteFrozen(_sptep: Address, _gfn: Gfn, _level: Level): void {}
  spteThawed(_sptep: Address): void {}
  getPage(_page: number, _gfn: Gfn, _level: Level): void {}
  prepareZapPage(_page: number, _gfn: Gfn, _level: Level): void {}
  splitHugePage(_gfn: Gfn, _spte: Spte, _level: Level, _errno: number): void {}
  iterStart(_minLevel: Level, _gfn: Gfn, _root: number): void {}
  iterRestart(_goal: Gfn): void {}
  yielded(_mode: 'read' | 'write'): void {}
  trySplit(_start: Gfn, _end: Gfn, _target: Level, _shared: boolean): void {}
  wrprotSlot(_minLevel: Level): void {}
  clearDirtySlot(): void {}
  writeProtectGfn(_gfn: Gfn, _minLevel: Level): void {}
  clearDirtyPtMasked(_gfn: Gfn, _mask: bigint, _wrprot: boolean): void {}
  flushRange(_gfn: Gfn, _pages: number): void {}
  markMmioSpte(_gfn: Gfn, _access: number, _generation: number): void {}
  checkMmioSpte(_spte: Spte, _kvmGeneration: number, _spteGeneration: number): void {}
  handleMmioPageFault(_gfn: Gfn, _access: number): void {}
  hostPageDirtied(_pfn: Pfn): void {}
  unmapHvaRange(_region: number, _first: number, _end: number): void {}
  ageHvaRange(_region: number, _first: number, _end: number): void {}
  markPageDirty(_slot: number, _gfn: Gfn): void {}
  dirtyRingPush(_vcpu: number, _slot: number, _offset: number): void {}
  mmio(_vcpu: number, _gfn: Gfn, _write: boolean): void {}
}
