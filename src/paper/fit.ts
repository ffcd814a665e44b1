/**
 * Finds the prices of `fitted-profiles.ts` again: each by its own figure, by the secant rule, round and round until all hold.
 */
import { PUBLISHED } from './eager-split.ts';
import { type InitiallySetSeconds, initiallySetSeconds } from './eager-split-runs.ts';
import type { Laboratory, Scale } from './figure.ts';
import { type FittedPrices, fittedSkylake } from './fitted-profiles.ts';

/** Which figure decides each price. */
const TARGETS: readonly { readonly price: keyof FittedPrices; readonly of: (s: InitiallySetSeconds) => number }[] = [
  { price: 'walkLevel', of: ({ on }) => on.dirty2 },
  { price: 'splitEntry', of: ({ on }) => on.clear1 },
  { price: 'spteChange', of: ({ off }) => off.clear3 },
  { price: 'remoteNs', of: ({ off }) => off.dirty2 },
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
  let before: { prices: FittedPrices; seconds: InitiallySetSeconds } | null = null;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const seconds = await initiallySetSeconds(laboratory, fittedSkylake(prices), scale);
    const deviations = Object.fromEntries(
      TARGETS.map(({ price, of }) => [price, of(seconds) / of(PUBLISHED.initiallySet) - 1]),
    ) as FitRound['deviations'];
    onRound({ prices, deviations });
    if (TARGETS.every(({ price }) => Math.abs(deviations[price]) <= TOLERANCE)) break;
    const next: Record<keyof FittedPrices, number> = { ...prices };
    for (const { price, of } of TARGETS) {
      const value = of(seconds);
      const last = before === null ? Number.NaN : (value - of(before.seconds)) / (prices[price] - before.prices[price]);
      // Half as dear, half as slow, until two rounds tell better.
      const slope = last > 0 && Number.isFinite(last) ? last : (0.7 * value) / prices[price];
      const wanted = prices[price] + (of(PUBLISHED.initiallySet) - value) / slope;
      next[price] = Math.round(10 * Math.min(3 * prices[price], Math.max(prices[price] / 3, wanted))) / 10;
    }
    before = { prices, seconds };
    prices = next;
  }
  return prices;
}
