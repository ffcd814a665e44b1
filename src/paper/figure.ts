/**
 * A figure of a published series beside what the simulator says, and what the simulator was told beforehand.
 */
import type { SimulationOutcome, SimulationTask } from '../simulate/simulation.ts';

/** `fitted`: the profile was adjusted until this came out. `predicted`: it comes out by itself. `unpublished`: nobody gave a number. */
export type FigureKind = 'fitted' | 'predicted' | 'unpublished';

export interface Figure {
  readonly name: string;
  readonly unit: 's' | 'us' | '%' | 'steps' | 'flushes' | 'ns' | 'x' | 'MiB';
  /** Null where the series describes it in words only. */
  readonly published: number | null;
  readonly simulated: number;
  readonly kind: FigureKind;
  /** Why it misses, where it does by more than {@link MISS}. */
  readonly why?: string;
}

/** A figure that is off by more than this share needs an explanation. */
export const MISS = 0.1;

export const deviationOf = ({ published, simulated }: Figure): number | null =>
  published === null || published === 0 ? null : simulated / published - 1;

/** A series whose figures are reproduced. */
export interface Paper {
  readonly name: string;
  readonly title: string;
  /** Where the published figures are from. */
  readonly source: string;
  /** What was run: machine, guest, scale. */
  describe(scale: Scale): string;
  run(laboratory: Laboratory, scale: Scale): Promise<Figure[]>;
}

/** How many times the default's size a guest has, at which rates have about settled. Infinity: as large as published. */
export type Scale = number;

/** A size of `standard` at the default scale, and never more than `full`. */
export const scaled = (scale: Scale, standard: number, full: number): number => Math.min(full, standard * scale);

/** Runs simulations. */
export interface Laboratory {
  run(task: SimulationTask): Promise<SimulationOutcome>;
}
