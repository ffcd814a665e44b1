/**
 * A failing schedule, replayed and written down: what each thread did that matters, in the kernel's words.
 */
import { Execution } from '../engines/explore/execution.ts';
import type { Finding } from '../engines/explore/program.ts';
import { Sampler } from '../engines/explore/sampler.ts';
import { Replay } from '../engines/explore/schedulers/replay.ts';
import type { ReplayToken } from '../engines/explore/token.ts';
import { LockNumber, lockName } from '../machine/lock-number.ts';
import { LockMode } from '../machine/probe.ts';
import type { Kvm } from '../mmu/kvm.ts';
import { RetPf } from '../mmu/page-fault-info.ts';
import { SITES } from '../mmu/site.ts';
import { isLastSpte, isShadowPresent, type Spte, sptePfn, spteToChildPage } from '../mmu/spte.ts';
import type { SpteChange } from '../oracles/step-oracle.ts';
import type { ThreadReports } from '../oracles/step-reports.ts';
import type { VmProgram } from '../scenarios/vm-program.ts';
import { vcpuThread } from '../script/script.ts';

/** One thing that a thread did. */
export interface TraceRow {
  /** Steps taken before. */
  readonly step: number;
  /** Index of the thread in the program. */
  readonly thread: number;
  readonly text: string;
  /** What it is about, for reports that leave some out. */
  readonly kind: 'spte' | 'lock' | 'flush' | 'fault' | 'walk' | 'guest' | 'operation' | 'step' | 'rcu';
}

/** One change of an SPTE, for the history of a page. */
export interface ChangeRow {
  readonly step: number;
  readonly thread: string;
  readonly gfn: number;
  readonly level: number;
  readonly text: string;
}

export interface ExploreTrace {
  readonly threads: readonly string[];
  readonly rows: readonly TraceRow[];
  readonly changes: readonly ChangeRow[];
  readonly finding: Finding | null;
  readonly steps: number;
}

const hex = (n: number): string => `0x${n.toString(16)}`;
const RETURNS: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(RetPf).map(([name, value]) => [value, name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()]),
);
const KINDS: readonly string[] = ['reads', 'writes', 'exchanges', 'adds to', 'waits for', 'wakes', 'spins on', 'works', 'fence'];

/** What an SPTE says: `table 5`, `2M rw- frame 0x100008`, `FROZEN`, `empty`, `MMIO`. */
export function describeSpte(kvm: Kvm, spte: Spte, level: number): string {
  const format = kvm.spte;
  if (format.isFrozen(spte)) return 'FROZEN';
  if (!isShadowPresent(spte)) return format.isMmio(spte) ? `MMIO (generation ${format.mmioGeneration(spte)})` : 'empty';
  if (!isLastSpte(spte, level)) return `table ${spteToChildPage(spte)}`;
  const size = ['', '', 'huge ', '1G '][level] ?? '';
  if (format.isAccessTracked(spte)) return `${size}access-tracked frame ${hex(sptePfn(spte))}`;
  const rights = `${format.isReadable(spte) ? 'r' : '-'}${(spte.lo & 2) !== 0 ? 'w' : '-'}${format.isExecutable(spte) ? 'x' : '-'}`;
  const state = `${format.isAccessed(spte) ? 'A' : ''}${format.isDirty(spte) ? 'D' : ''}`;
  return `${size}${rights}${state === '' ? '' : ` ${state}`} frame ${hex(sptePfn(spte))}`;
}

export interface TraceOptions {
  /** Whether every single step is a row. */
  readonly everyStep: boolean;
  /** Stop before so many steps. */
  readonly until: number;
}

/** Replays `token` in `program`, a fresh one of the scenario that it was made for. */
export function traceSchedule(program: VmProgram, token: ReplayToken, options: TraceOptions): ExploreTrace {
  const rows: TraceRow[] = [];
  const changes: ChangeRow[] = [];
  const execution = new Execution(program, token.model);
  const { machine } = program;
  const { kvm } = machine.vm;
  const names = program.threads.map(({ name }) => name);
  const add = (thread: number, kind: TraceRow['kind'], text: string): void => {
    rows.push({ step: execution.length, thread, kind, text });
  };
  machine.watch.onChange = (watched, change: SpteChange) => {
    const { gfn, level, old, next } = change;
    const text = `level ${level}, gfn ${hex(gfn)}: ${describeSpte(kvm, old, level)} -> ${describeSpte(kvm, next, level)}`;
    add(names.indexOf(watched.name), 'spte', text);
    changes.push({ step: execution.length, thread: watched.name, gfn, level, text });
  };
  for (const [thread, name] of names.entries()) listen(machine.thread(name).watch, (kind, text) => add(thread, kind, text));
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
  return { threads: names, rows, changes, finding: sampler.finding, steps: execution.length };
}

/** Has everything that a thread reports written down as well. */
function listen(watch: ThreadReports, add: (kind: TraceRow['kind'], text: string) => void): void {
  const tap = <Name extends keyof ThreadReports>(name: Name, say: (...args: never[]) => void): void => {
    const inner = (watch[name] as (...args: unknown[]) => void).bind(watch);
    Object.defineProperty(watch, name, {
      value: (...args: never[]) => {
        if (watch.world.on) say(...args);
        inner(...args);
      },
    });
  };
  const mode = (m: number): string => (m === LockMode.read ? 'read' : 'write');
  tap('operation', (name: string) => add('operation', name === 'flush_all' ? 'kvm_flush_remote_tlbs' : name));
  tap('pageFault', (_vcpu: number, gfn: number) => add('fault', `page fault at gfn ${hex(gfn)}`));
  tap('pageFaultDone', (_v: number, gfn: number, r: number) =>
    add('fault', `fault at gfn ${hex(gfn)}: ${RETURNS[r] ?? `errno ${-r}`}`),
  );
  tap('lockAcquired', (lock: number, m: number, site: number) => {
    if (lock === LockNumber.mmuLock) add('lock', `mmu_lock taken for ${mode(m)} (${SITES[site] ?? site})`);
    else if (lock <= LockNumber.pagesLock) add('lock', `${lockName(lock)} taken`);
  });
  tap('lockReleased', (lock: number, m: number) => {
    if (lock === LockNumber.mmuLock) add('lock', `mmu_lock released (${mode(m)})`);
  });
  tap('rcuReadUnlock', () => add('rcu', 'rcu_read_unlock'));
  tap('flushDone', () => add('flush', 'flush complete'));
  tap('spteFrozen', (_p: number, gfn: number, level: number) => add('spte', `level ${level}, gfn ${hex(gfn)}: -> FROZEN`));
  tap('spteThawed', () => add('spte', 'FROZEN -> empty'));
  tap('prepareZapPage', (page: number) => add('walk', `table ${page} is out of the tree`));
  tap('yielded', () => add('walk', 'yields mmu_lock'));
  tap('markPageDirty', (slot: number, gfn: number) => add('guest', `gfn ${hex(gfn)} marked in the log of slot ${slot}`));
}
