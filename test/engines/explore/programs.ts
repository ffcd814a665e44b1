/**
 * The classic small programs of the literature on partial order reduction, and small locks and zap protocols, over a few
 * words. Each of their words has a granule of its own, and starts as 0.
 */
import {
  type Address,
  acquire,
  InvariantError,
  type Memory,
  type Program,
  read,
  rmw,
  type Task,
  write,
} from '../../../src/explore.ts';

/** The address of word number `i` from `base` on. */
const word = (i: number, base = 0): Address => (2 * (base + i)) as Address;

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** One thread stores x; `n` threads each load it. */
export function readers(n: number): Program {
  function* store(m: Memory): Task<void> {
    m.store32(yield write(word(0)), 1);
  }
  function* load(m: Memory): Task<void> {
    m.load32(yield read(word(0)));
  }
  return {
    name: `readers(${n})`,
    words: 2,
    threads: [{ name: 'writer', run: store }, ...range(n).map((i) => ({ name: `reader ${i}`, run: load }))],
  };
}

/** Words x0..xN; one thread looks for the last zero; thread j makes x[j+1] one more than x[j]. */
export function lastZero(n: number): Program {
  function* find(m: Memory): Task<void> {
    let i = n;
    while (m.load32(yield read(word(i))) !== 0) i--;
  }
  function* bump(m: Memory, j: number): Task<void> {
    const y = m.load32(yield read(word(j)));
    m.store32(yield write(word(j + 1)), y + 1);
  }
  return {
    name: `lastzero(${n})`,
    words: 2 * (n + 1),
    threads: [{ name: 'finder', run: find }, ...range(n).map((j) => ({ name: `bump ${j}`, run: (m: Memory) => bump(m, j) }))],
  };
}

/** `n` threads insert four keys each into a hash table of 128 words. */
export function indexer(n: number): Program {
  function* insert(m: Memory, t: number): Task<void> {
    for (let k = 1; k <= 4; k++) {
      const w = k * 11 + t;
      let h = (w * 7) % 128;
      while (m.cmpxchg32(yield rmw(word(h)), 0, w) !== 0) h = (h + 1) % 128;
    }
  }
  return {
    name: `indexer(${n})`,
    words: 256,
    threads: range(n).map((t) => ({ name: `inserter ${t}`, run: (m: Memory) => insert(m, t) })),
  };
}

const INODES = 32;
const BLOCKS = 26;

/** `n` threads give their inode a block, under a lock an inode and a lock a block. */
export function fileSystem(n: number): Program {
  const inodeLock = (i: number): Address => word(i);
  const inode = (i: number): Address => word(i, INODES);
  const blockLock = (b: number): Address => word(b, 2 * INODES);
  const busy = (b: number): Address => word(b, 2 * INODES + BLOCKS);
  function* lock(m: Memory, a: Address): Task<void> {
    m.xchg32(yield acquire(a, 1), 1);
  }
  function* unlock(m: Memory, a: Address): Task<void> {
    m.store32(yield write(a), 0);
  }
  function* create(m: Memory, t: number): Task<void> {
    const i = t % INODES;
    yield* lock(m, inodeLock(i));
    if (m.load32(yield read(inode(i))) === 0) {
      for (let b = (i * 2) % BLOCKS; ; b = (b + 1) % BLOCKS) {
        yield* lock(m, blockLock(b));
        if (m.load32(yield read(busy(b))) === 0) {
          m.store32(yield write(busy(b)), 1);
          m.store32(yield write(inode(i)), b + 1);
          yield* unlock(m, blockLock(b));
          break;
        }
        yield* unlock(m, blockLock(b));
      }
    }
    yield* unlock(m, inodeLock(i));
  }
  return {
    name: `filesystem(${n})`,
    words: 4 * (INODES + BLOCKS),
    threads: range(n).map((t) => ({ name: `creator ${t}`, run: (m: Memory) => create(m, t) })),
  };
}

/** `threads` threads each add 1 to a word `n` times, by compare-and-exchange. */
export function cas(threads: number, n: number): Program {
  function* add(m: Memory): Task<void> {
    for (let i = 0; i < n; i++) {
      for (;;) {
        const x = m.load32(yield read(word(0)));
        if (m.cmpxchg32(yield rmw(word(0)), x, x + 1) === x) break;
      }
    }
  }
  return {
    name: `cas(${threads},${n})`,
    words: 2,
    threads: range(threads).map((t) => ({ name: `adder ${t}`, run: add })),
    check: (w) => (w[0] === threads * n ? null : `the word holds ${w[0]}`),
  };
}

const WRITER = 1000;

/** A reader-writer lock in one word, tried at most `tries` times: `readers` readers load a counter, one writer changes it. */
export function rww(readerCount: number, tries: number): Program {
  const lock = word(0);
  const counter = word(1);
  function* reader(m: Memory): Task<void> {
    for (let k = 0; k < tries; k++) {
      const x = m.load32(yield read(lock));
      if (x >= WRITER || m.cmpxchg32(yield rmw(lock), x, x + 1) !== x) continue;
      m.load32(yield read(counter));
      m.add32(yield rmw(lock), -1);
      return;
    }
  }
  function* writer(m: Memory): Task<void> {
    for (let k = 0; k < tries; k++) {
      if (m.cmpxchg32(yield rmw(lock), 0, WRITER) !== 0) continue;
      const c = m.load32(yield read(counter));
      m.store32(yield write(counter), c + 1);
      m.add32(yield rmw(lock), -WRITER);
      return;
    }
  }
  return {
    name: `rww(${readerCount},${tries})`,
    words: 4,
    threads: [...range(readerCount).map((i) => ({ name: `reader ${i}`, run: reader })), { name: 'writer', run: writer }],
  };
}

const FROZEN = -1;
const LEAF = 77;

/**
 * Faults against a zap: a root word and tables of four words. Faults link a table of their own and set a leaf; the zapper
 * freezes the root and every entry of the table that it finds.
 * @param faults fault threads
 * @param retries how often a fault that finds a frozen entry, or loses a race, tries again
 * @param zapTo what the zapper leaves in the words of a dead table: anything but FROZEN is the seeded bug
 */
export function zap(faults: number, retries: number, zapTo = FROZEN): Program {
  const root = word(0);
  const entry = (table: number, i: number): Address => word(1 + 4 * (table - 1) + i);
  const tables = faults * (retries + 1);
  /** Ghost state: the table that the zapper took away, and which of its entries it has been through. */
  let detached = 0;
  let emptied = 0;
  function* fault(m: Memory, t: number): Task<void> {
    for (let a = 0; a <= retries; a++) {
      let r = m.load32(yield read(root));
      if (r === FROZEN) continue;
      if (r === 0) {
        const n = 1 + t * (retries + 1) + a;
        if (m.cmpxchg32(yield rmw(root), 0, n) !== 0) continue;
        r = n;
      }
      const seen = m.cmpxchg32(yield rmw(entry(r, t & 3)), 0, LEAF);
      if (seen === 0) {
        if (detached === r && (emptied >> (t & 3)) & 1) throw new InvariantError('dead-leaf', `leaf in dead table ${r}`);
        return;
      }
      if (seen === FROZEN) continue;
      return;
    }
  }
  function* zapper(m: Memory): Task<void> {
    const r = m.xchg32(yield rmw(root), FROZEN);
    if (r !== 0) {
      detached = r;
      for (let i = 0; i < 4; i++) {
        m.xchg32(yield rmw(entry(r, i)), zapTo);
        emptied |= 1 << i;
      }
    }
    m.store32(yield write(root), 0);
  }
  return {
    name: `zap(${faults},${retries})`,
    fingerprint: String(zapTo),
    words: 2 * (1 + 4 * tables),
    threads: [
      ...range(faults).map((t) => ({ name: `fault ${t}`, run: (m: Memory) => fault(m, t) })),
      { name: 'zapper', run: zapper },
    ],
    reset: () => {
      detached = 0;
      emptied = 0;
    },
  };
}

/** The program that a text such as `cas(2,3)` names. */
export function programOf(text: string): Program {
  const match = /^(\w+)\(([\d,]+)\)$/.exec(text);
  const factory = match === null ? undefined : FACTORIES[match[1]];
  if (match === null || factory === undefined) throw new Error(`no program ${text}`);
  return factory(...match[2].split(',').map(Number));
}

const FACTORIES: Record<string, (...numbers: number[]) => Program> = {
  readers,
  lastzero: lastZero,
  indexer,
  filesystem: fileSystem,
  cas,
  rww,
  zap: (f, k) => zap(f, k),
};
