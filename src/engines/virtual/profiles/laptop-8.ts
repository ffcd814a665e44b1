/**
 * A laptop: one socket of four cores with two threads (Core i7-1165G7, Tiger Lake, about 4 GHz under load).
 *
 * Sources of the figures:
 * - [C2C] N. Viennot, core-to-core-latency, README: 27 ns between cores, 5.9 ns between the threads of a core of the
 *   i7-1165G7; each contains one compare-exchange of the receiver, charged as `atomicNs`.
 * - [Agner] A. Fog, instruction tables, Ice Lake and Tiger Lake: LOCK XADD and CMPXCHG about 18 cycles, L1 load to use 5.
 * - [Opt] Intel optimization reference manual: PAUSE about 140 cycles.
 * - [Walk] the fast-forward series for KVM's TDP iterator gives about 13 ns for one step of a walk, on a server.
 * - "assumed": no published figure known to us.
 */
import type { MachineProfile } from '../profile.ts';

export const laptop8: MachineProfile = {
  name: 'laptop-8',
  description: 'one-socket laptop, 4 cores, 8 hardware threads',
  topology: { sockets: 1, coresPerSocket: 4, threadsPerCore: 2 },
  access: {
    hitNs: 1.2, // [Agner] 5 cycles
    storeNs: 0.5, // assumed
    atomicNs: 4.5, // [Agner] 18 cycles
    fenceNs: 8, // assumed: scaled from Skylake by clock
    pauseNs: 35, // [Opt] 140 cycles
    storeBufferNs: 300, // assumed: about twelve line fills of 25 ns
  },
  transfer: {
    siblingNs: 1.4, // [C2C] 5.9 less the atomic
    socketNs: 22.5, // [C2C] 27 less the atomic
    remoteNs: 22.5, // there is no other socket
    memoryNs: 95, // assumed: LPDDR4X
    fanoutNs: 5, // assumed
  },
  scheduler: {
    sliceNs: 2_800_000, // Linux: 0.75 ms times (1 + log2 of 8 CPUs), a little less on most releases
    contextSwitchNs: 1200, // assumed
    wakeNs: 700, // assumed
    wakeupNs: 2500, // assumed
    tickNs: 4_000_000, // Linux: CONFIG_HZ=250
    resched: 'tick', // assumed: a desktop always has something else to do
    preemption: 'voluntary',
  },
  jitter: 0.05, // assumed
  costs: {
    vmExit: 500, // assumed
    vmEnter: 400, // assumed
    guestAccess: 1.2, // [Agner]
    walkLevel: 4, // assumed: L2 hit of 14 cycles
    gup: 180, // assumed
    hostFault: 650, // assumed
    userfaultfd: 7000, // assumed
    tableAlloc: 250, // assumed
    tableFree: 90, // assumed
    spteChange: 15, // assumed
    iterStep: 8.2, // [Walk] by clock: 13 * 3 / 3.7, less two loads
    bitmapWord: 3, // assumed
    ipi: 900, // assumed
    tlbFlush: 170, // assumed
    faultPath: 260, // assumed
    syscall: 120, // assumed
    reschedule: 450, // assumed
    userPage: 12, // assumed
    emulate: 1100, // assumed
    splitEntry: 2, // assumed
    walkStart: 9, // assumed: 36 cycles
    hashedPage: 95, // as memoryNs
    kernelPage: 550, // assumed: scaled from Skylake by clock
    srcuGracePeriod: 12_800, // assumed: four hand-overs, wakeNs + wakeupNs each
  },
};
