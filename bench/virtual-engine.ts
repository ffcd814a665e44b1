/**
 * How many steps a second the virtual engine does, on coroutines of the shape of a demand fault.
 *
 * A synthetic fault: exit, fault path, get_user_pages, a shared count of a lock word, four levels of a table walk, an
 * exchange of a leaf, the count back, entry, guest access: 16 steps through three nested coroutines, and the same with
 * nothing contended, so that the queue's part shows. Run as `node --import tsx bench/virtual-engine.ts`.
 */
import { VirtualEngine } from '../src/engines/virtual/engine.ts';
import { ultramem416 } from '../src/engines/virtual/profiles/index.ts';
import { Cost } from '../src/machine/cost.ts';
import { type Address, count, read, rmw, spend, type Task, write } from '../src/machine/point.ts';
import type { ThreadEnvironment } from '../src/machine/thread.ts';

const LOCK = 64 as Address;
const TABLE = 1024;
const PRIVATE_WORDS = 4096;

interface Shape {
  readonly environment: ThreadEnvironment;
  readonly lock: Address;
  readonly base: number;
}

function* walk({ environment, base }: Shape, page: number): Task<void> {
  const { memory } = environment;
  for (let level = 0; level < 4; level++) {
    yield spend(Cost.iterStep);
    memory.load32(yield read((base + level * 1024 + (level === 3 ? (page * 2) % 1024 : 0)) as Address));
  }
  memory.cmpxchg32(yield rmw((base + 3072 + ((page * 2) % 1024)) as Address), 0, page);
  yield spend(Cost.spteChange);
}

function* fault(shape: Shape, page: number): Task<void> {
  const { memory } = shape.environment;
  yield spend(Cost.vmExit);
  yield spend(Cost.faultPath);
  yield spend(Cost.gup);
  memory.add32(yield count(shape.lock), 1);
  yield* walk(shape, page);
  memory.add32(yield count(shape.lock), -1);
  yield spend(Cost.vmEnter);
  memory.store32(yield write((shape.base + 8) as Address), page);
  yield spend(Cost.guestAccess);
}

function* vcpu(shape: Shape, faults: number): Task<number> {
  for (let page = 0; page < faults; page++) yield* fault(shape, page);
  return faults;
}

function measure(vcpus: number, contended: boolean): string {
  const faultsEach = Math.ceil(200_000 / vcpus);
  const engine = new VirtualEngine({ words: TABLE + vcpus * PRIVATE_WORDS, profile: ultramem416, seed: 1 });
  for (let i = 0; i < vcpus; i++) {
    const base = TABLE + i * PRIVATE_WORDS;
    const lock = contended ? LOCK : ((base + 16) as Address);
    engine.addTask({ name: `vcpu${i}`, cpu: i, body: (environment) => vcpu({ environment, lock, base }, faultsEach) });
  }
  const start = process.hrtime.bigint();
  const end = engine.run();
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  if (end.status !== 'done') throw new Error(end.status);
  const steps = (engine.steps / seconds / 1e6).toFixed(2);
  const faults = Math.round((vcpus * faultsEach) / seconds / 1000);
  const nsPerFault = (engine.totals().lineQueue ?? 0) / (vcpus * faultsEach);
  return [vcpus, contended ? 'one lock word' : 'own lock words', steps, faults, Math.round(nsPerFault)].join('\t');
}

process.stdout.write('vCPUs\tlock\tMsteps/s\tkfaults/s\tqueueing ns/fault\n');
for (const vcpus of [1, 16, 96, 416]) {
  for (const contended of [false, true]) process.stdout.write(`${measure(vcpus, contended)}\n`);
}
