/**
 * 416 CPUs: eight sockets of 26 cores with two threads, the size of the largest machines on which the parallel page
 * fault work for KVM was measured.
 *
 * Sources of the figures: as for `skylake-2s-96`, of which this is the same core and mesh. What differs:
 * - The shape is assumed: 416 threads are 208 cores; 8 x 26 is the way to build them from Cascade Lake sockets.
 * - [C2C] gives 134 ns for sockets with a direct link; with eight sockets of three links each, four of seven peers are two
 *   hops away, at an assumed 60 ns for the additional hop: 128 + 4/7 * 60.
 * - memory: interleaving over eight sockets leaves one line in eight local; local 85 ns, else about 150 to 200 ns (assumed),
 *   but a thread's own data are local as a rule; 100 ns is assumed as the mean.
 * - [Mem] idle latencies of Skylake-SP as Intel's latency checker reports them: L3 about 70 cycles, local memory 81 ns, memory of
 *   a neighbour socket 138 ns; two hops are assumed to take 200. A guest of 1.6 TiB on 4K pages has 850,000 page-table pages,
 *   whose descriptors (168 bytes, struct kvm_mmu_page) fill 143 MB, made by CPUs of all sockets; one L3 holds 36 MB.
 * - more cores a socket and a lower clock (2.5 to 2.7 GHz) make each software cost about 10 % dearer (assumed).
 */
import type { MachineProfile } from '../profile.ts';
import { skylake2s96 } from './skylake-2s-96.ts';

export const ultramem416: MachineProfile = {
  ...skylake2s96,
  name: 'ultramem-416',
  description: 'eight-socket Cascade Lake server, 208 cores, 416 hardware threads',
  topology: { sockets: 8, coresPerSocket: 26, threadsPerCore: 2 },
  transfer: {
    siblingNs: 1.8, // [C2C], clock
    socketNs: 45, // [C2C], clock and one column more of mesh (assumed)
    remoteNs: 162, // [C2C] and the hop above
    memoryNs: 100, // assumed, see above
    fanoutNs: 9, // assumed
  },
  costs: {
    ...skylake2s96.costs,
    vmExit: 720, // +10 %, assumed
    vmEnter: 600, // +10 %, assumed
    gup: 280, // +10 %, assumed
    hostFault: 1100, // assumed: clearing a page that may be remote
    userfaultfd: 10_000, // +10 %, assumed
    faultPath: 390, // +10 %, assumed
    hashedPage: 125, // [Mem]: a quarter in the socket's L3 at 26, else the mean over eight sockets, 162
    kernelPage: 825, // +10 %, assumed
    ipi: 1500, // assumed: cluster-mode delivery to other sockets
  },
};
