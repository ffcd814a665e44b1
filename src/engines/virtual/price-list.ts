/**
 * A profile's prices in the engine's unit, whole picoseconds.
 *
 * Virtual time is a count of picoseconds in a double: sums of whole numbers below 2^53 (two and a half hours) are exact, so
 * equal runs are equal to the bit on every machine and every Node version, whatever the order of additions.
 */
import { Cost } from '../../machine/cost.ts';
import type { CostName, MachineProfile } from './profile.ts';

export const PS_PER_NS = 1000;
/** The latest virtual time, in picoseconds. */
export const TIME_MAX_PS = Number.MAX_SAFE_INTEGER;

/** How far ahead of the next task an access may be, in picoseconds: it is seen that much too early, or sees what is that old. */
export const AHEAD_PS = 1500 * PS_PER_NS;

/** Nanoseconds to whole picoseconds. */
export const toPs = (ns: number): number => Math.round(ns * PS_PER_NS);

export const COST_NAMES = Object.keys(Cost) as CostName[];

export class PriceList {
  /** Price of one unit of each cost of `cost.ts`, by its number. */
  readonly costs: Float64Array;
  readonly hit: number;
  readonly store: number;
  readonly atomic: number;
  readonly fence: number;
  readonly pause: number;
  readonly storeBuffer: number;
  readonly sibling: number;
  readonly socket: number;
  readonly remote: number;
  readonly memory: number;
  readonly fanout: number;
  readonly slice: number;
  readonly contextSwitch: number;
  readonly wake: number;
  readonly wakeup: number;
  readonly tick: number;
  readonly jitter: number;

  constructor(profile: MachineProfile) {
    const { access, transfer, scheduler } = profile;
    this.costs = new Float64Array(COST_NAMES.length);
    for (const name of COST_NAMES) this.costs[Cost[name]] = toPs(profile.costs[name]);
    this.hit = toPs(access.hitNs);
    this.store = toPs(access.storeNs);
    this.atomic = toPs(access.atomicNs);
    this.fence = toPs(access.fenceNs);
    this.pause = toPs(access.pauseNs);
    this.storeBuffer = toPs(access.storeBufferNs);
    this.sibling = toPs(transfer.siblingNs);
    this.socket = toPs(transfer.socketNs);
    this.remote = toPs(transfer.remoteNs);
    this.memory = toPs(transfer.memoryNs);
    this.fanout = toPs(transfer.fanoutNs);
    this.slice = toPs(scheduler.sliceNs);
    this.contextSwitch = toPs(scheduler.contextSwitchNs);
    this.wake = toPs(scheduler.wakeNs);
    this.wakeup = toPs(scheduler.wakeupNs);
    this.tick = toPs(scheduler.tickNs);
    this.jitter = profile.jitter;
  }
}
