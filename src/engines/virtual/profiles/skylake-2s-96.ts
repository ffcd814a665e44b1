/**
 * Two sockets of 24 cores with two threads: 96 CPUs, Skylake-SP or its successor of equal core and mesh, Cascade Lake
 * (Xeon Platinum 8275CL, the machine of AWS c5.metal).
 *
 * Sources of the figures:
 * - [C2C] N. Viennot, core-to-core-latency, README: medians of compare-exchange message passing on a dual Platinum
 *   8275CL: 47 ns in a socket, 134 ns between sockets, 7.6 ns between the threads of a core. Each contains one
 *   compare-exchange of its receiver, which `atomicNs` charges; the transfer is the rest.
 * - [Agner] A. Fog, instruction tables, Skylake-X: LOCK XADD and LOCK CMPXCHG about 18 cycles, MFENCE about 33; L1 load to
 *   use 4 cycles. At 3.0 GHz.
 * - [Opt] Intel optimization reference manual: PAUSE takes about 140 cycles from Skylake on.
 * - [Walk] the fast-forward series for KVM's TDP iterator gives about 13 ns for one step of a walk.
 * - [Clear] A. Arora, "x86/mm: Add multi-page clearing", v4, cover letter: demand faults on 2M pages clear 11.8 GB/s page by page.
 * - "assumed": no published figure known to us; a value of the right order that a fit may move.
 */
import type { MachineProfile } from '../profile.ts';

export const skylake2s96: MachineProfile = {
  name: 'skylake-2s-96',
  description: 'two-socket Skylake-SP / Cascade Lake server, 48 cores, 96 hardware threads',
  topology: { sockets: 2, coresPerSocket: 24, threadsPerCore: 2 },
  access: {
    hitNs: 1.3, // [Agner] 4 cycles
    storeNs: 0.7, // assumed: two cycles to retire a store that hits
    atomicNs: 6, // [Agner] 18 cycles
    fenceNs: 11, // [Agner] 33 cycles
    pauseNs: 46, // [Opt] 140 cycles
    storeBufferNs: 450, // assumed: about ten outstanding line fills of 45 ns
  },
  transfer: {
    siblingNs: 1.6, // [C2C] 7.6 less the atomic
    socketNs: 41, // [C2C] 47 less the atomic
    remoteNs: 128, // [C2C] 134 less the atomic
    memoryNs: 85, // assumed: local DRAM, idle; Intel's latency checker reports 80 to 90 ns on this generation
    fanoutNs: 8, // assumed: the home agent answers a reader of an unmodified line every 20 to 25 cycles
  },
  scheduler: {
    sliceNs: 3_000_000, // Linux: base slice of the fair scheduler on a large machine is about 3 ms
    contextSwitchNs: 1500, // assumed: switch between processes with cold caches, as lmbench's lat_ctx reports 1 to 2 us
    wakeNs: 900, // assumed: try_to_wake_up on a remote CPU, IPI included
    wakeupNs: 3000, // assumed: idle exit from a shallow C-state plus the switch
    tickNs: 4_000_000, // Linux: CONFIG_HZ=250
    resched: 'tick', // assumed: host threads compete for every CPU now and then
    preemption: 'voluntary', // Linux servers: PREEMPT_VOLUNTARY
  },
  jitter: 0.05, // assumed
  costs: {
    vmExit: 650, // assumed: half of an exit round trip of 1.2 us with the mitigations of 2018
    vmEnter: 550, // assumed: the other half
    guestAccess: 1.3, // [Agner] a load that hits L1
    walkLevel: 5, // assumed: an L2 hit of 14 cycles
    gup: 250, // assumed: lockless walk of four host levels and a reference
    hostFault: 900, // assumed: fault, allocation, clearing 4 KiB, rmap and charge
    userfaultfd: 9000, // assumed: two wake-ups, two switches, UFFDIO_COPY
    tableAlloc: 350, // assumed: a page from the per-CPU list, cleared
    tableFree: 120, // assumed
    spteChange: 20, // assumed
    iterStep: 10.4, // [Walk] 13 less two loads that are charged apart: the SPTE, and mmu_lock to see whether to yield
    bitmapWord: 4, // assumed: 8 bytes copied with checks
    ipi: 1200, // assumed: ICR write to handler entry in a CPU that runs a guest
    tlbFlush: 220, // assumed: INVEPT or INVVPID single-context
    faultPath: 350, // assumed: decode, memslot look-up, notifier sequence, retry tests
    syscall: 250, // assumed: with page-table isolation
    reschedule: 600, // assumed: schedule() that picks the same task again
    userPage: 15, // assumed
    emulate: 1500, // assumed
    splitEntry: 2.5, // assumed: make_huge_page_split_spte and a store
    walkStart: 12, // assumed: 36 cycles for two calls with many arguments and a look at the list of roots
    hashedPage: 85, // as memoryNs: where a bucket has many pages, their descriptors exceed the caches
    kernelPage: 750, // [Clear] 350, the rest assumed: allocation with its charge to the memory cgroup 350, mapping 50
    srcuGracePeriod: 15_600, // assumed: four hand-overs to and from the workers of the grace period, wakeNs + wakeupNs each
  },
};
