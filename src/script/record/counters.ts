/**
 * The statistics of KVM (kvm_stat, the binary statistics of VM and vCPU) by the names that recordings use.
 */
import { Counter } from '../../machine/counters.ts';
import { MmuCounter } from '../../mmu/counters.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import { VmStat, vmStat } from '../../mmu/vm-stat.ts';
import { VcpuCounter } from '../../vm/vcpu-counters.ts';
import { vcpuThread } from '../script.ts';
import type { CounterValue, PhaseCounters } from './event.ts';

type Totals = Readonly<Record<string, Readonly<Record<string, number>>>>;

const VCPU_STATS: Readonly<Record<string, number>> = {
  pf_taken: MmuCounter.pf_taken,
  pf_fixed: MmuCounter.pf_fixed,
  pf_emulate: MmuCounter.pf_emulate,
  pf_spurious: MmuCounter.pf_spurious,
  pf_fast: MmuCounter.pf_fast,
  pf_mmio_spte_created: MmuCounter.pf_mmio_spte_created,
  tlb_flush: VcpuCounter.tlb_flush,
  exits: VcpuCounter.exits,
  io_exits: VcpuCounter.io_exits,
  mmio_exits: VcpuCounter.mmio_exits,
  insn_emulation: VcpuCounter.insn_emulation,
};

/** Counters of the VM that all threads count for. */
const SUMMED: Readonly<Record<string, number>> = {
  remote_tlb_flush: Counter.flushesKicked,
  remote_tlb_flush_requests: Counter.flushRequests,
  mmu_shadow_zapped: MmuCounter.shadow_zapped,
};

const ATOMIC: Readonly<Record<string, number>> = {
  pages_4k: VmStat.pages4k,
  pages_2m: VmStat.pages2m,
  pages_1g: VmStat.pages1g,
  nx_lpage_splits: VmStat.nxLpageSplits,
};

/** Where statistics come from. */
export interface StatSource {
  /** Any handle on the VM. */
  readonly kvm: Kvm;
  /** Of all threads. */
  readonly counters: readonly Float64Array[];
  /** Of the threads of vCPUs, by vCPU; a vCPU that has no thread counts nothing. */
  readonly vcpus: readonly (Float64Array | undefined)[];
}

/** The statistics of a VM, phase by phase. */
export class StatReader {
  readonly #source: StatSource;
  #last: Totals = {};

  constructor(source: StatSource) {
    this.#source = source;
  }

  /** Totals, and what they changed since the last call. */
  read(): PhaseCounters {
    const counters = this.peek();
    this.#last = this.#totals();
    return counters;
  }

  /** As {@link read}, without an end of the phase. */
  peek(): PhaseCounters {
    const totals = this.#totals();
    const result: Record<string, Record<string, CounterValue>> = {};
    for (const [object, values] of Object.entries(totals)) {
      const entries = Object.entries(values).map(([name, total]) => {
        return [name, { total, delta: total - (this.#last[object]?.[name] ?? 0) }] as const;
      });
      result[object] = Object.fromEntries(entries);
    }
    return result;
  }

  #totals(): Totals {
    const { kvm, counters: all, vcpus } = this.#source;
    const vm: Record<string, number> = {};
    for (const [name, index] of Object.entries(SUMMED)) vm[name] = all.reduce((sum, counters) => sum + counters[index], 0);
    for (const [name, stat] of Object.entries(ATOMIC)) vm[name] = vmStat(kvm, stat);
    const totals: Record<string, Record<string, number>> = { vm };
    for (const [id, counters] of vcpus.entries()) {
      const values = Object.entries(VCPU_STATS).map(([name, index]) => [name, counters?.[index] ?? 0] as const);
      totals[vcpuThread(id)] = Object.fromEntries(values);
    }
    return totals;
  }
}
