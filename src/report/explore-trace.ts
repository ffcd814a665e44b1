/**
 * A failing schedule, replayed and written down: what each thread did that matters, in the kernel's words.
 */
import { Execution } from '../engines/explore/execution.ts';
import type { Finding } from '../engines/explore/program.ts';
import { Sampler } from '../engines/explore/sampler.ts';
import { Replay } from '../engines/explore/schedulers/replay.ts';
import type { ReplayToken } from '../engines/explore/token.ts';
import { LockNumber, lockName } from '../machine/lock-number.ts';
import type { Address } from '../machine/point.ts';
import { LockMode } from '../machine/probe.ts';
import type { Gfn, Level } from '../mmu/level.ts';
import { RetPf } from '../mmu/page-fault-info.ts';
import { SITES } from '../mmu/site.ts';
import type { Spte } from '../mmu/spte.ts';
import type { TracedOperation } from '../mmu/trace.ts';
import type { SpteChange } from '../oracles/step-oracle.ts';
import type { ThreadReports } from '../oracles/step-reports.ts';
import type { VmProgram } from '../scenarios/vm-program.ts';
import { vcpuThread } from '../script/script.ts';
import { describeSpte, hex } from './describe-spte.ts';
import { KERNEL_FUNCTIONS } from './kernel-functions.ts';
import { MachineStates } from './machine-states.ts';

/** One thing that a thread did. */
export interface TraceRow {
  /** Steps taken before. */
  readonly step: number;
  /** Index of the thread in the program. */
  readonly thread: number;
  readonly text: string;
  /** What the thread holds by then: `R` or `W` for mmu_lock, `r` for an RCU read-side section; blanks where it does not. */
  readonly marks: string;
  /** What it is about, for reports that leave some out. */
  readonly kind: 'spte' | 'lock' | 'flush' | 'fault' | 'walk' | 'guest' | 'operation' | 'step' | 'rcu';
}

/** One change of an SPTE, for the history of a page. */
export interface ChangeRow {
  readonly step: number;
  readonly thread: string;
  /** The gfns that the SPTE maps: the first, and how many. */
  readonly gfn: number;
  readonly pages: number;
  readonly text: string;
  /** Index in {@link ExploreTrace.rows}. */
  readonly row: number;
}

export interface ExploreTrace {
  readonly threads: readonly string[];
  readonly rows: readonly TraceRow[];
  readonly changes: readonly ChangeRow[];
  readonly finding: Finding | null;
  readonly steps: number;
  /** The machine before the first row, and behind each; empty where they were not asked for. */
  readonly pictures: Pick<MachineStates, 'states' | 'forests'>;
}

const RETURNS: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(RetPf).map(([name, value]) => [value, name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()]),
);
const KINDS: readonly string[] = ['reads', 'writes', 'exchanges', 'adds to', 'waits for', 'wakes', 'spins on', 'works', 'fence'];

export interface TraceOptions {
  /** Whether every single step is a row. */
  readonly everyStep: boolean;
  /** Stop before so many steps. */
  readonly until: number;
  /** Whether the machine is pictured at every row. */
  readonly pictures?: boolean;
}

/** Replays `token` in `program`, a fresh one of the scenario that it was made for. */
export function traceSchedule(program: VmProgram, token: ReplayToken, options: TraceOptions): ExploreTrace {
  const rows: TraceRow[] = [];
  const changes: ChangeRow[] = [];
  const execution = new Execution(program, token.model);
  const { machine } = program;
  const { kvm } = machine.vm;
  const names = program.threads.map(({ name }) => name);
  const machines = new MachineStates(
    machine.vm,
    program.threads.map((_, thread) => machine.vcpus.findIndex(({ id }) => vcpuThread(id) === names[thread])),
  );
  if (options.pictures) machines.take();
  const add = (thread: number, kind: TraceRow['kind'], text: string): void => {
    rows.push({ step: execution.length, thread, kind, text, marks: machines.marks(thread) });
    if (options.pictures) machines.take();
  };
  const changed = (name: string, { gfn, level, old, next }: Omit<SpteChange, 'asId'>, how = ''): void => {
    const text = `level ${level}, gfn ${hex(gfn)}: ${describeSpte(kvm, old, level)} -> ${describeSpte(kvm, next, level)}${how}`;
    changes.push({ step: execution.length, thread: name, gfn, pages: kvm.geometry.span(level), text, row: rows.length });
    add(names.indexOf(name), 'spte', text);
  };
  machine.watch.onChange = (watched, change) => changed(watched.name, change);
  for (const [thread, name] of names.entries())
    listen(machine.thread(name).watch, new ThreadStory(name, thread, machines, add, changed));
  const wrote = machine.watch.wrote.bind(machine.watch);
  machine.watch.wrote = (vcpu, gfn, pfn) => {
    add(names.indexOf(vcpuThread(vcpu)), 'guest', `the guest writes gfn ${hex(gfn)}, frame ${hex(pfn)}`);
    wrote(vcpu, gfn, pfn);
  };
  if (options.everyStep) {
    const observe = program.observe.bind(program);
    program.observe = (event) => {
      const at = program.label(event.step >>> 4) ?? '';
      if (event.task < names.length) add(event.task, 'step', `${KINDS[event.step & 15] ?? 'takes'} ${at}`);
      observe(event);
    };
  }
  const schedule = token.schedule.slice(0, Math.min(options.until, token.schedule.length));
  const whole = schedule.length === token.schedule.length;
  const sampler = new Sampler(execution, new Replay(schedule, token.seed), whole ? 10_000 : schedule.length);
  sampler.run();
  return { threads: names, rows, changes, finding: sampler.finding, steps: execution.length, pictures: machines };
}

type AddRow = (thread: number, kind: TraceRow['kind'], text: string) => void;
type AddChange = (name: string, change: Omit<SpteChange, 'asId'>, how: string) => void;

/** Where what a thread reports goes to. */
class ThreadStory {
  readonly thread: number;
  readonly machines: MachineStates;
  readonly #name: string;
  readonly #add: AddRow;
  readonly #changed: AddChange;

  constructor(name: string, thread: number, machines: MachineStates, add: AddRow, changed: AddChange) {
    this.thread = thread;
    this.machines = machines;
    this.#name = name;
    this.#add = add;
    this.#changed = changed;
  }

  tell(kind: TraceRow['kind'], text: string): void {
    this.#add(this.thread, kind, text);
  }

  changed(change: Omit<SpteChange, 'asId'>, how: string): void {
    this.#changed(this.#name, change, how);
  }
}

/** Has everything that a thread reports written down as well. */
function listen(watch: ThreadReports, story: ThreadStory): void {
  const { thread, machines } = story;
  const tap = <Name extends keyof ThreadReports>(name: Name, say: (...args: never[]) => void): void => {
    const inner = (watch[name] as (...args: unknown[]) => void).bind(watch);
    Object.defineProperty(watch, name, {
      value: (...args: never[]) => {
        if (watch.world.on) say(...args);
        inner(...args);
      },
    });
  };
  const mode = (m: LockMode): string => (m === LockMode.read ? 'read' : 'write');
  tap('operation', (name: TracedOperation) => {
    machines.entered(thread, KERNEL_FUNCTIONS[name]);
    story.tell('operation', KERNEL_FUNCTIONS[name]);
  });
  tap('flushRange', (gfn: number, pages: number) =>
    story.tell('flush', `kvm_flush_remote_tlbs_range: gfn ${hex(gfn)}, ${pages} ${pages === 1 ? 'page' : 'pages'}`),
  );
  tap('pageFault', (_vcpu: number, gfn: number) => {
    machines.entered(thread, 'kvm_mmu_page_fault');
    story.tell('fault', `page fault at gfn ${hex(gfn)}`);
  });
  tap('pageFaultDone', (_v: number, gfn: number, r: number) =>
    story.tell('fault', `fault at gfn ${hex(gfn)}: ${RETURNS[r] ?? `errno ${-r}`}`),
  );
  tap('fastPageFault', (_v: number, gfn: Gfn, _code: number, _p: Address, old: Spte, next: Spte, r: RetPf, level: Level) => {
    if (r === RetPf.fixed) story.changed({ gfn, level, old, next }, ' (fast_page_fault, no lock)');
  });
  tap('lockAttempt', (lock: number, m: LockMode) => machines.attempted(thread, lock, m));
  tap('lockAcquired', (lock: number, m: LockMode, site: number) => {
    machines.acquired(thread, lock, m);
    if (lock === LockNumber.mmuLock) story.tell('lock', `mmu_lock taken for ${mode(m)} (${SITES[site] ?? site})`);
    else if (lock <= LockNumber.pagesLock) story.tell('lock', `${lockName(lock)} taken`);
  });
  tap('lockReleased', (lock: number, m: LockMode) => {
    machines.released(thread, lock);
    if (lock === LockNumber.mmuLock) story.tell('lock', `mmu_lock released (${mode(m)})`);
  });
  tap('rcuReadLock', () => machines.rcu(thread, 1));
  tap('rcuReadUnlock', () => {
    machines.rcu(thread, -1);
    story.tell('rcu', 'rcu_read_unlock');
  });
  tap('flushDone', () => story.tell('flush', 'flush complete'));
  tap('spteFrozen', (_p: number, gfn: number, level: number) => story.tell('spte', `level ${level}, gfn ${hex(gfn)}: -> FROZEN`));
  tap('spteThawed', () => story.tell('spte', 'FROZEN -> empty'));
  tap('prepareZapPage', (page: number) => {
    machines.detached(page);
    story.tell('walk', `table ${page} is out of the tree`);
  });
  tap('pageFreed', (page: number) => {
    machines.freed(page);
    story.tell('walk', `table ${page} is freed`);
  });
  tap('yielded', () => story.tell('walk', 'yields mmu_lock'));
  tap('markPageDirty', (slot: number, gfn: number) => story.tell('guest', `gfn ${hex(gfn)} marked in the log of slot ${slot}`));
}
