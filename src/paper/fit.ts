/**
 * Finds the prices of `fitted-profiles.ts` again: each by its own figure, by the secant rule, round and round until all hold.
 */
import { eagerSplitSeconds, eagerSplitTasks, PUBLISHED } from './eager-split.ts';
import type { Laboratory, Scale } from './figure.ts';
import { type FittedPrices, fittedSkylake } from './fitted-profiles.ts';

type Seconds = ReturnType<typeof eagerSplitSeconds>;

/** Which figure decides each price, and the published value. */
const TARGETS: readonly { price: keyof FittedPrices; of: (s: Seconds) => number; published: number }[] = [
  { price: 'walkLevel', of: (s) => s.dirty2On, published: PUBLISHED.initiallySet.on.dirty2 },
  { price: 'splitEntry', of: (s) => s.enableOn, published: PUBLISHED.plain.on.enable },
  { price: 'spteChange', of: (s) => s.clear3Off, published: PUBLISHED.initiallySet.off.clear3 },
  { price: 'remoteNs', of: (s) => s.dirty2Off, published: PUBLISHED.initiallySet.off.dirty2 },
];

/** Good enough: a share of the figure. */
const TOLERANCE = 0.01;
const ROUNDS_MAX = 8;

export interface FitRound {
  readonly prices: FittedPrices;
  /** Deviation of each fitted figure, as a share. */
  readonly deviations: Readonly<Record<keyof FittedPrices, number>>;
}

/** Starts at `start`; tells of each round. Returns the last one's prices. */
export async function fitEagerSplit(
  laboratory: Laboratory,
  start: FittedPrices,
  scale: Scale,
  onRound: (round: FitRound) => void,
): Promise<FittedPrices> {
  let prices = start;
  let before: { prices: FittedPrices; seconds: Seconds } | null = null;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const tasks = eagerSplitTasks(fittedSkylake(prices), scale);
    const [setOff, setOn, plainOff, plainOn] = await Promise.all(
      [tasks.setOff, tasks.setOn, tasks.plainOff, tasks.plainOn].map((task) => laboratory.run(task)),
    );
    const seconds = eagerSplitSeconds({ setOff, setOn, plainOff, plainOn }, scale);
    const deviations = Object.fromEntries(
      TARGETS.map(({ price, of, published }) => [price, of(seconds) / published - 1]),
    ) as FitRound['deviations'];
    onRound({ prices, deviations });
    if (TARGETS.every(({ price }) => Math.abs(deviations[price]) <= TOLERANCE)) break;
    const next: Record<keyof FittedPrices, number> = { ...prices };
    for (const { price, of, published } of TARGETS) {
      const value = of(seconds);
      const last = before === null ? Number.NaN : (value - of(before.seconds)) / (prices[price] - before.prices[price]);
      // Half as dear, half as slow, until two rounds tell better.
      const slope = last > 0 && Number.isFinite(last) ? last : (0.7 * value) / prices[price];
      const wanted = prices[price] + (published - value) / slope;
      next[price] = Math.round(10 * Math.min(3 * prices[price], Math.max(prices[price] / 3, wanted))) / 10;
    }
    before = { prices, seconds };
    prices = next;
  }
  return prices;
}
