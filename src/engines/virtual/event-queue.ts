/**
 * The event queue: tasks by virtual time, ties by rank, as a heap with four children a node in flat arrays.
 *
 * The running task stays at the top while it runs; the engine compares its time with the {@link EventQueue.runnerUp} and
 * touches the heap only when another task is due. Nothing here allocates after construction.
 */
export class EventQueue {
  size = 0;
  /** Virtual time by heap position. */
  readonly times: Float64Array;
  /** Rank by heap position: the smaller goes first among equal times. */
  readonly ranks: Int32Array;
  /** Task by heap position. */
  readonly items: Int32Array;
  /** Heap position by task, or -1. */
  readonly positions: Int32Array;

  constructor(capacity: number) {
    this.times = new Float64Array(capacity);
    this.ranks = new Int32Array(capacity);
    this.items = new Int32Array(capacity);
    this.positions = new Int32Array(capacity).fill(-1);
  }

  has(item: number): boolean {
    return this.positions[item] >= 0;
  }

  push(item: number, time: number, rank: number): void {
    this.#rise(this.size++, item, time, rank);
  }

  /** Gives the top item a later key. */
  replaceTop(time: number, rank: number): void {
    this.#sink(0, this.items[0], time, rank);
  }

  removeTop(): void {
    this.remove(this.items[0]);
  }

  remove(item: number): void {
    const at = this.positions[item];
    this.positions[item] = -1;
    const last = --this.size;
    if (at === last) return;
    const time = this.times[last];
    const rank = this.ranks[last];
    const moved = this.items[last];
    const parent = (at - 1) >> 2;
    if (at > 0 && this.#before(time, rank, parent)) this.#rise(at, moved, time, rank);
    else this.#sink(at, moved, time, rank);
  }

  /** The heap position of the item that comes after the top one, or 0 where the top item is alone. */
  runnerUp(): number {
    const { size, times, ranks } = this;
    if (size < 2) return 0;
    const end = size < 5 ? size : 5;
    let best = 1;
    for (let i = 2; i < end; i++) {
      if (times[i] < times[best] || (times[i] === times[best] && ranks[i] < ranks[best])) best = i;
    }
    return best;
  }

  #before(time: number, rank: number, position: number): boolean {
    const other = this.times[position];
    return time < other || (time === other && rank < this.ranks[position]);
  }

  #rise(from: number, item: number, time: number, rank: number): void {
    const { times, ranks, items, positions } = this;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 2;
      if (!this.#before(time, rank, parent)) break;
      times[at] = times[parent];
      ranks[at] = ranks[parent];
      items[at] = items[parent];
      positions[items[at]] = at;
      at = parent;
    }
    times[at] = time;
    ranks[at] = rank;
    items[at] = item;
    positions[item] = at;
  }

  #sink(from: number, item: number, time: number, rank: number): void {
    const { size, times, ranks, items, positions } = this;
    let at = from;
    for (;;) {
      const first = 4 * at + 1;
      if (first >= size) break;
      const end = first + 4 < size ? first + 4 : size;
      let best = first;
      let bestTime = times[first];
      for (let i = first + 1; i < end; i++) {
        const t = times[i];
        if (t < bestTime || (t === bestTime && ranks[i] < ranks[best])) {
          best = i;
          bestTime = t;
        }
      }
      if (time < bestTime || (time === bestTime && rank <= ranks[best])) break;
      times[at] = bestTime;
      ranks[at] = ranks[best];
      const moved = items[best];
      items[at] = moved;
      positions[moved] = at;
      at = best;
    }
    times[at] = time;
    ranks[at] = rank;
    items[at] = item;
    positions[item] = at;
  }
}
