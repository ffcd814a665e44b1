/**
 * The processors of the modelled machine: sockets, cores, hardware threads, and how far apart two of them are.
 *
 * CPUs are numbered as Linux numbers them on x86: the first thread of every core, socket by socket, and then the second
 * threads in the same order.
 */

/** How many sockets, cores and threads there are. */
export interface TopologyShape {
  readonly sockets: number;
  readonly coresPerSocket: number;
  /** Hardware threads (SMT) a core: 1, 2, 4 or 8. */
  readonly threadsPerCore: number;
}

/**
 * Which CPU the i-th task gets: `cores` fills the cores of one socket after the other and then their second threads;
 * `threads` fills both threads of a core before the next core; `sockets` deals cores out to the sockets in turn.
 */
export const PIN_ORDERS = ['cores', 'threads', 'sockets'] as const;
export type PinOrder = (typeof PIN_ORDERS)[number];

/** The largest machine that is modelled, in hardware threads. */
export const CPUS_MAX = 4096;
/** Sharers are kept as one bit a socket beside one bit a core. */
export const SOCKETS_MAX = 31;

/** What is wrong with `shape`, one line a problem; empty where it can be built. */
export function topologyProblems(shape: TopologyShape): string[] {
  const problems: string[] = [];
  const whole = (name: keyof TopologyShape, max: number): void => {
    const value = shape[name];
    if (!Number.isInteger(value) || value < 1 || value > max) {
      problems.push(`topology.${name} must be a whole number from 1 to ${max}, not ${String(value)}`);
    }
  };
  whole('sockets', SOCKETS_MAX);
  whole('coresPerSocket', 1024);
  whole('threadsPerCore', 8);
  if (problems.length > 0) return problems;
  if (![1, 2, 4, 8].includes(shape.threadsPerCore)) {
    problems.push(`topology.threadsPerCore must be 1, 2, 4 or 8, not ${shape.threadsPerCore}`);
  }
  const cpus = shape.sockets * shape.coresPerSocket * shape.threadsPerCore;
  if (cpus > CPUS_MAX) problems.push(`topology has ${cpus} hardware threads; at most ${CPUS_MAX} are modelled`);
  return problems;
}

export class Topology {
  readonly shape: TopologyShape;
  readonly cpus: number;
  readonly cores: number;
  /** The core of each CPU. */
  readonly coreOf: Int32Array;
  /** The socket of each core. */
  readonly socketOfCore: Int32Array;

  /** @throws RangeError with every problem of an impossible shape. */
  constructor(shape: TopologyShape) {
    const problems = topologyProblems(shape);
    if (problems.length > 0) throw new RangeError(problems.join('\n'));
    this.shape = shape;
    this.cores = shape.sockets * shape.coresPerSocket;
    this.cpus = this.cores * shape.threadsPerCore;
    this.coreOf = Int32Array.from({ length: this.cpus }, (_, cpu) => cpu % this.cores);
    this.socketOfCore = Int32Array.from({ length: this.cores }, (_, core) => Math.floor(core / shape.coresPerSocket));
  }

  socketOf(cpu: number): number {
    return this.socketOfCore[this.coreOf[cpu]];
  }

  /** The CPU of the `i`-th task under `order`; begins again after the last CPU. */
  pin(i: number, order: PinOrder = 'cores'): number {
    const { sockets, coresPerSocket, threadsPerCore } = this.shape;
    const n = i % this.cpus;
    if (order === 'cores') return n;
    if (order === 'threads') return (n % threadsPerCore) * this.cores + Math.floor(n / threadsPerCore);
    const thread = Math.floor(n / this.cores);
    const turn = n % this.cores;
    return thread * this.cores + (turn % sockets) * coresPerSocket + Math.floor(turn / sockets);
  }
}
