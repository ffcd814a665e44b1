/**
 * The threads engine: runs a plan on real threads, one worker each, and comes back whatever they do.
 *
 * The coordinator sets the VM up while it is alone, lets all workers begin at once, and watches. It never waits for a lock
 * that a worker holds. A run that goes wrong ends within seconds: all are told to stop, and who does not is terminated.
 */

import { createArena } from '../../machine/shared-arena.ts';
import { SharedMemory } from '../../machine/shared-memory.ts';
import { ThreadWord } from '../../machine/thread.ts';
import { type BugSwitches, NO_BUGS } from '../../mmu/bug-switches.ts';
import { VmStat, vmStat } from '../../mmu/vm-stat.ts';
import { createVm, openVm, type Vm } from '../../vm/vm.ts';
import type { Measurement } from '../measure/measurement.ts';
import { readMeasurement } from '../measure/read-measurement.ts';
import { SAMPLED } from '../measure/recorder.ts';
import { StatRegion } from '../measure/stat-region.ts';
import { ControlWord, type EngineHooks, type EnginePlan, layoutPlan } from '../plan.ts';
import { nowNs } from './clock.ts';
import { Crew, hasEnded, type Member } from './crew.ts';
import { drive } from './drive.ts';
import { describeExit, heldLocks } from './failure.ts';
import type { ThreadFailure } from './protocol.ts';
import { ExitCode, type ThreadsResult } from './result.ts';
import { type SpteHistory, spteHistory } from './spte-history.ts';
import { describeStall, type StallReport } from './stall.ts';
import { Watchdog } from './watchdog.ts';
import { workerFile } from './worker-file.ts';

/** A worker costs some 80 ms to start and some MB: more vCPUs belong to the virtual clock. */
export const THREADS_MAX = 272;

export interface ThreadsOptions {
  /** How likely a delay is before each shared access, 0 to 1; above 0 the perturbed bundle is used. */
  readonly perturb: number;
  /** After so long programs are told to end; 0: they end by themselves. */
  readonly durationMs: number;
  /** Measure locks and latencies; without, counters are all there is. */
  readonly measure: boolean;
  /** Interrupts the run. */
  readonly signal: AbortSignal | null;
  /** How long nobody may get on before the run counts as stalled; 0: for ever. */
  readonly watchdogMs: number;
  /**
   * How long threads that were told to stop may take. Where nothing is wrong but the time over, they may take as long as they
   * need while anybody gets on: so long nobody may.
   */
  readonly graceMs: number;
  /** How long all workers together may take to start. */
  readonly startupMs: number;
  readonly bugs: BugSwitches;
  /** The bundle of the threads, where it is not the package's own. */
  readonly filename: string | null;
  /** Called every {@link PROGRESS_MS}. */
  readonly onProgress: ((progress: Progress) => void) | null;
}

export interface Progress {
  readonly elapsedMs: number;
  readonly running: number;
  readonly ended: number;
  /** Useful work so far, of no particular unit: it grows while anybody gets on. */
  readonly work: number;
}

export const THREADS_DEFAULTS: ThreadsOptions = {
  perturb: 0,
  durationMs: 0,
  measure: true,
  signal: null,
  watchdogMs: 10_000,
  graceMs: 2_000,
  startupMs: 120_000,
  bugs: NO_BUGS,
  filename: null,
  onProgress: null,
};

/** How often the coordinator looks. */
const TICK_MS = 5;
const PROGRESS_MS = 1_000;
/** So many ticks from one look of the watchdog to the next: it reads every counter. */
const TICKS_PER_LOOK = 10;

/** A hook that takes longer held everybody up. */
const LONG_HOOK_MS = 50;

/** Why a run ends before its programs do. */
type Ending = 'failed' | 'stalled' | 'interrupted';

/** Runs `plan`. Errors: RangeError for a plan that cannot be run. */
export function runThreads(plan: EnginePlan, hooks: EngineHooks, options: Partial<ThreadsOptions> = {}): Promise<ThreadsResult> {
  return new Run(plan, hooks, { ...THREADS_DEFAULTS, ...options }).result();
}

class Run {
  readonly #plan: EnginePlan;
  readonly #hooks: EngineHooks;
  readonly #options: ThreadsOptions;
  readonly #layout: ReturnType<typeof layoutPlan>;
  readonly #arena: ReturnType<typeof createArena>;
  readonly #memory: SharedMemory;
  readonly #region: StatRegion;
  readonly #vm: Vm;
  readonly #watchdog: Watchdog;
  readonly #failures: ThreadFailure[] = [];
  readonly #phases: { name: string; ns: number }[] = [];
  readonly #tallies: { name: string; n: number }[] = [];
  #crew: Crew | null = null;
  #stall: StallReport | null = null;
  #ending: Ending | null = null;
  #endingAtNs: number | null = null;
  /** When programs were told to stop, or null. */
  #stoppedAtNs: number | null = null;
  #createdAtNs = 0;
  #beganAtNs: number | null = null;
  #endedAtNs = 0;
  #ticks = 0;
  #nextProgressMs = PROGRESS_MS;
  #done: () => void = () => {};

  constructor(plan: EnginePlan, hooks: EngineHooks, options: ThreadsOptions) {
    const count = plan.threads.length;
    if (count < 1 || count > THREADS_MAX) {
      throw new RangeError(`${count} threads: real threads can be 1 to ${THREADS_MAX}; the virtual clock runs more`);
    }
    this.#plan = plan;
    this.#hooks = hooks;
    this.#options = options;
    this.#layout = layoutPlan(plan, hooks.controlWords);
    this.#arena = createArena(this.#layout.arenaWords);
    this.#memory = new SharedMemory(this.#arena.words);
    this.#region = new StatRegion(count + 1, options.measure);
    this.#watchdog = new Watchdog(this.#region, options.watchdogMs);
    const { config, vm: layout, coordinatorId } = this.#layout;
    createVm(this.#memory, config);
    const environment = {
      memory: this.#memory,
      now: nowNs,
      needResched: () => false,
      counters: this.#region.counters(coordinatorId),
      probe: null,
    };
    this.#vm = openVm({ layout, threadId: coordinatorId, threadName: 'coordinator', environment, bugs: options.bugs });
  }

  async result(): Promise<ThreadsResult> {
    const { setUp } = this.#hooks;
    if (setUp) drive(this.#memory, setUp.call(this.#hooks, this.#vm, this.#layout.control));
    this.#hooks.counters?.(this.#plan.threads.map((_, id) => this.#region.counters(id)));
    this.#createdAtNs = nowNs();
    const crew = this.#hire();
    this.#crew = crew;
    const { signal } = this.#options;
    const interrupt = () => this.#end('interrupted');
    signal?.addEventListener('abort', interrupt, { once: true });
    if (signal?.aborted) interrupt();
    try {
      await new Promise<void>((resolve) => {
        const timer = setInterval(() => this.#tick(), TICK_MS);
        this.#done = () => {
          clearInterval(timer);
          resolve();
        };
      });
      this.#endedAtNs = nowNs();
      // Before they are terminated: who holds what is told as it is.
      return this.#conclude(crew);
    } finally {
      signal?.removeEventListener('abort', interrupt);
      await crew.disband();
    }
  }

  #hire(): Crew {
    const { perturb, measure, bugs, filename } = this.#options;
    const { wasm, buffer } = this.#arena;
    return new Crew({
      filename: filename ?? workerFile('run', perturb > 0),
      threads: this.#plan.threads,
      task: () => ({
        plan: this.#plan,
        wasm: wasm ?? null,
        arena: buffer,
        controlWords: this.#hooks.controlWords,
        statistics: this.#region.buffer,
        measured: measure,
        perturb,
        bugs,
      }),
      events: {
        phase: (_member, name, ns) => {
          this.#phases.push({ name, ns });
          this.#watchdog.note();
        },
        report: (member, report) => {
          this.#hooks.report?.(member.id, report);
          this.#watchdog.note();
        },
        tally: (_member, name, n) => {
          this.#tallies.push({ name, n });
        },
        failure: (_member, failure) => {
          this.#failures.push(failure);
          this.#end('failed');
        },
        lost: (member, message) => {
          this.#failures.push(this.#describeLoss(member, message));
          this.#end('failed');
        },
        changed: () => this.#watchdog.note(),
      },
    });
  }

  #describeLoss(member: Member, message: string): ThreadFailure {
    return describeExit(message, {
      thread: member.thread.name,
      threadId: member.id,
      region: this.#region,
      heldMask: this.#heldMask(member.id),
    });
  }

  #heldMask(threadId: number): number {
    return this.#arena.words[this.#layout.vm.kvm.threadBlock(threadId) + ThreadWord.held];
  }

  /** The coordinator's look at everything. */
  #tick(): void {
    const { members } = this.#crew!;
    const now = nowNs();
    if (this.#beganAtNs === null) {
      if (this.#ending === null && members.every(({ state }) => state === 'ready')) this.#begin();
      else if (this.#ending === null && now - this.#createdAtNs > this.#options.startupMs * 1e6) {
        this.#end('stalled', this.#options.startupMs);
      }
      // Nobody is past the gate: there is nothing to wait for.
      else if (this.#ending !== null) this.#done();
      return;
    }
    this.#callHook(now);
    const { durationMs, onProgress } = this.#options;
    const elapsedMs = (nowNs() - this.#beganAtNs) / 1e6;

    const running = members.filter((member) => !hasEnded(member));
    if (running.length === 0) {
      this.#done();
      return;
    }
    // Those that only serve others have nobody left to serve.
    if (running.every(({ thread }) => thread.daemon)) this.#stop();
    if (durationMs > 0 && elapsedMs >= durationMs) this.#stop();
    if (this.#ticks++ % TICKS_PER_LOOK === 0) this.#look(elapsedMs);
    if (this.#isGraceOver()) {
      this.#done();
      return;
    }
    if (onProgress && elapsedMs >= this.#nextProgressMs) {
      this.#nextProgressMs = elapsedMs + PROGRESS_MS;
      onProgress({ elapsedMs, running: running.length, ended: members.length - running.length, work: this.#watchdog.progress });
    }
  }

  /** What the hook does while everybody waits for it, such as an examination of the whole state, is no standstill. */
  #callHook(now: number): void {
    const { tick } = this.#hooks;
    if (!tick || this.#ending !== null) return;
    this.#crew!.listen();
    drive(this.#memory, tick.call(this.#hooks, this.#vm, this.#layout.control, this.#history()));
    if (nowNs() - now > LONG_HOOK_MS * 1e6) this.#watchdog.note();
  }

  /** Whether anybody gets on. Those that were told to stop, and do nothing at all, are stalled sooner. */
  #look(elapsedMs: number): void {
    const { graceMs } = this.#options;
    const stalled = this.#watchdog.isStalled(elapsedMs);
    const sinceStopMs = this.#stoppedAtNs === null ? 0 : (nowNs() - this.#stoppedAtNs) / 1e6;
    const quietMs = this.#watchdog.quietMs(elapsedMs);
    const ignored = sinceStopMs > graceMs && quietMs > graceMs;
    if (!stalled && !ignored) return;
    this.#end('stalled', stalled ? this.#options.watchdogMs : graceMs);
    if (ignored) this.#done();
  }

  /** Whether a run that ends for another reason than its time has waited for its threads long enough. */
  #isGraceOver(): boolean {
    return this.#endingAtNs !== null && nowNs() - this.#endingAtNs > this.#options.graceMs * 1e6;
  }

  #begin(): void {
    this.#beganAtNs = nowNs();
    this.#crew!.openGate();
  }

  /** Tells all programs to come to an end. */
  #stop(): void {
    if (this.#stoppedAtNs !== null) return;
    this.#stoppedAtNs = nowNs();
    Atomics.store(this.#arena.words, this.#layout.control + ControlWord.stop, 1);
  }

  /** `quietMs`: how long nobody had got on, for a run that ends for that. */
  #end(ending: Ending, quietMs = 0): void {
    if (this.#ending !== null) return;
    this.#ending = ending;
    this.#endingAtNs = nowNs();
    if (ending === 'stalled') this.#stall = describeStall(this.#stallContext(), quietMs);
    this.#stop();
  }

  #stallContext() {
    return {
      members: this.#crew!.members,
      region: this.#region,
      words: this.#arena.words,
      layout: this.#layout.vm.kvm,
    };
  }

  #conclude(crew: Crew): ThreadsResult {
    const began = this.#beganAtNs ?? this.#endedAtNs;
    return {
      complete: this.#ending === null,
      reason: this.#reason(),
      exitCode: this.#ending === null ? ExitCode.held : EXIT_CODES[this.#ending],
      failures: this.#failures,
      stall: this.#stall,
      threads: crew.members.map(({ id, thread, state, elapsedNs }) => ({
        name: thread.name,
        role: thread.role,
        index: thread.index,
        state: hasEnded({ state } as Member) ? state : 'terminated',
        elapsedNs,
        holds: heldLocks(this.#heldMask(id)),
      })),
      startupNs: began - this.#createdAtNs,
      elapsedNs: this.#endedAtNs - began,
      measurement: this.#measure(),
      vcpus: crew.members.flatMap(({ vcpu }) => vcpu ?? []),
      history: this.#history(),
      vm: this.#vm,
      memory: this.#memory,
      control: this.#layout.control,
    };
  }

  #reason(): string {
    if (this.#ending === 'interrupted') return 'interrupted';
    if (this.#ending === 'stalled' && this.#stall) {
      return `no progress for ${(this.#stall.afterMs / 1000).toFixed(1)} s: ${this.#stall.summary}`;
    }
    const first = this.#failures[0];
    if (this.#ending !== 'failed' || !first) return '';
    const holding = first.held.length > 0 ? `, holding ${first.held.join(', ')}` : '';
    return `${first.thread}${holding}: ${first.rule}: ${first.message}`;
  }

  #history(): SpteHistory {
    const threads = [...this.#plan.threads.map(({ name }) => name), 'coordinator'];
    return spteHistory({ region: this.#region, threads, geometry: this.#vm.kvm.geometry, now: nowNs() });
  }

  #measure(): Measurement {
    const { kvm } = this.#vm;
    const stat = (name: keyof typeof VmStat) => vmStat(kvm, VmStat[name]);
    return readMeasurement(this.#region, {
      sampling: SAMPLED,
      threads: [...this.#plan.threads, { name: 'coordinator', role: 'coordinator', index: 0 }],
      vmStats: {
        pages_4k: stat('pages4k'),
        pages_2m: stat('pages2m'),
        pages_1g: stat('pages1g'),
        tdp_mmu_pages: stat('tdpMmuPages'),
        nx_lpage_splits: stat('nxLpageSplits'),
      },
      phases: this.#phases,
      tallies: this.#tallies,
    });
  }
}

const EXIT_CODES: Readonly<Record<Ending, ExitCode>> = {
  failed: ExitCode.broken,
  stalled: ExitCode.stalled,
  interrupted: ExitCode.interrupted,
};
