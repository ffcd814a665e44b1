/** A machine whose prices are round numbers, without jitter and ticks, so that expectations can be computed by hand. */
import { VirtualEngine, type VirtualEngineOptions } from '../../../src/engines/virtual/engine.ts';
import type { MachineProfile } from '../../../src/engines/virtual/profile.ts';
import { skylake2s96 } from '../../../src/engines/virtual/profiles/index.ts';
import type { Address, Task } from '../../../src/machine/point.ts';
import type { ThreadEnvironment } from '../../../src/machine/thread.ts';

export const roundMachine: MachineProfile = {
  ...skylake2s96,
  name: 'round',
  topology: { sockets: 2, coresPerSocket: 24, threadsPerCore: 2 },
  access: { hitNs: 1, storeNs: 1, atomicNs: 5, fenceNs: 10, pauseNs: 20, storeBufferNs: 400 },
  transfer: { siblingNs: 2, socketNs: 40, remoteNs: 120, memoryNs: 80, fanoutNs: 10 },
  scheduler: {
    sliceNs: 100_000,
    contextSwitchNs: 1000,
    wakeNs: 500,
    wakeupNs: 2000,
    tickNs: 1_000_000,
    resched: 'never',
    preemption: 'voluntary',
  },
  jitter: 0,
  costs: { ...skylake2s96.costs, userPage: 100, spteChange: 20, reschedule: 50, faultPath: 1000 },
};

/** First CPU of the second socket. */
export const REMOTE_CPU = 24;
/** The other thread of CPU 0's core. */
export const SIBLING_CPU = 48;

export function roundEngine(options: Partial<VirtualEngineOptions> = {}): VirtualEngine {
  return new VirtualEngine({ words: 1 << 16, profile: roundMachine, seed: 1, ...options });
}

/** The first word of line number `n`. */
export const line = (n: number): Address => (n * 16) as Address;

export type Body = (environment: ThreadEnvironment) => Task<unknown>;

/** Adds one task for each body, on CPUs 0, 1, 2, … or on those given. */
export function addAll(engine: VirtualEngine, bodies: readonly Body[], cpus?: readonly number[]): void {
  bodies.forEach((body, i) => {
    engine.addTask({ name: `t${i}`, cpu: cpus?.[i] ?? i, body });
  });
}

export const total = (byCauseNs: Readonly<Record<string, number>>): number => Object.values(byCauseNs).reduce((a, b) => a + b, 0);
