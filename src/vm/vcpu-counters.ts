/** Counters of vCPUs: the names of kvm_stat where it has them, and what the processor model does. */
import { defineCounters } from '../machine/counters.ts';

export const VCPU_COUNTERS_BASE = 192;

export const VCPU_COUNTERS = [
  { name: 'exits', unit: 'exits', help: 'times the vCPU left the guest', kvmStat: 'exits' },
  { name: 'io_exits', unit: 'exits', help: 'exits to user space for port I/O', kvmStat: 'io_exits' },
  { name: 'mmio_exits', unit: 'exits', help: 'exits to user space for MMIO', kvmStat: 'mmio_exits' },
  { name: 'insn_emulation', unit: 'instructions', help: 'instructions emulated', kvmStat: 'insn_emulation' },
  { name: 'tlb_flush', unit: 'flushes', help: 'TLB flushes because of a request', kvmStat: 'tlb_flush' },
  { name: 'tlb_flush_root', unit: 'flushes', help: 'TLB flushes because a root was loaded' },
  { name: 'interrupt_exits', unit: 'exits', help: 'of the exits those because of a kick' },
  { name: 'fault_exits', unit: 'exits', help: 'of the exits those because of a nested page fault' },
  { name: 'pml_full_exits', unit: 'exits', help: 'of the exits those because the page-modification log was full' },
  {
    name: 'dirty_ring_exits',
    unit: 'exits',
    help: 'exits to user space because the dirty ring was full',
  },
  { name: 'entries', unit: 'entries', help: 'guest entries' },
  { name: 'guest_accesses', unit: 'accesses', help: 'guest accesses begun' },
  { name: 'guest_writes', unit: 'writes', help: 'guest writes that reached a frame, where contents are tracked' },
  { name: 'walks', unit: 'walks', help: 'hardware page walks: accesses that missed the TLB' },
  { name: 'walk_restarts', unit: 'walks', help: 'of them begun again, because the leaf changed under them' },
  { name: 'ad_updates', unit: 'SPTEs', help: 'SPTEs whose accessed or dirty bit the hardware set' },
] as const;

export type VcpuCounterName = (typeof VCPU_COUNTERS)[number]['name'];
export const VcpuCounter = defineCounters(VCPU_COUNTERS_BASE, VCPU_COUNTERS);
