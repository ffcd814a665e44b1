/**
 * A scenario as a program of the explorer: the VM is set up once, its threads run the operations of the explored step, and each
 * execution is judged by the step rules while it runs and by the state oracles at its end.
 */
import type { Finding, Program, ProgramContext, ProgramThread, StepEvent } from '../engines/explore/program.ts';
import type { Memory } from '../machine/memory.ts';
import { type Address, addressOfStep, kindOfStep, own, read, type Task } from '../machine/point.ts';
import { rcuProcessCallbacks } from '../machine/rcu.ts';
import { untilChanged } from '../machine/whole-steps.ts';
import { type BugSwitches, NO_BUGS } from '../mmu/bug-switches.ts';
import { asGfn } from '../mmu/level.ts';
import { kvmZapGfnRange } from '../mmu/zap-leafs.ts';
import { tdpMmuZapWorker } from '../mmu/zap-worker.ts';
import { checkVm } from '../oracles/index.ts';
import { type ScriptThread, vcpuOf, vcpuThread } from '../script/script.ts';
import type { Operation } from '../script/vocabulary.ts';
import { runOperation, touch } from '../workloads/programs/script-operations.ts';
import { checkExpectation } from './expectation.ts';
import type { Scenario } from './scenario.ts';
import { hasZapWorker, RCU_THREAD, ScenarioMachine, ZAP_THREAD } from './scenario-machine.ts';

/** What the explorer's memory can do beyond the interface. */
type HashedMemory = Memory & { hash?(): number };

export interface ScenarioOptions {
  readonly bugs?: BugSwitches;
  /**
   * Whether locks, grace periods and requests are one step each, or the accesses that they are made of (see `whole-steps.ts`).
   * Whole by default.
   */
  readonly whole?: boolean;
}

export class VmProgram implements Program {
  readonly name: string;
  readonly words: number;
  readonly threads: readonly ProgramThread[];
  readonly fingerprint: string;
  readonly scenario: Scenario;
  /** Made by `setup`, once the explorer has an arena. */
  machine!: ScenarioMachine;
  /** What each operation of the last execution said, by thread. */
  readonly results = new Map<Operation, string>();
  readonly #bugs: BugSwitches;
  readonly #whole: boolean;
  /** Final states that were found good. */
  readonly #good = new Set<string>();
  #state = '';
  /** The thread of the VM that runs each thread of the program. */
  #threadIds: readonly number[] = [];

  constructor(scenario: Scenario, { bugs = NO_BUGS, whole = true }: ScenarioOptions = {}) {
    this.scenario = scenario;
    this.#bugs = bugs;
    this.#whole = whole;
    this.name = scenario.name;
    this.words = ScenarioMachine.words(scenario);
    const on = Object.keys(bugs).filter((id) => bugs[id] === true);
    this.fingerprint = [scenario.text, ...on, ...(whole ? ['whole'] : [])].join('\n');
    this.threads = [
      ...scenario.explored.threads.map((thread) => ({ name: thread.name, run: () => this.#run(thread) })),
      { name: RCU_THREAD, daemon: true, run: () => this.#freePages() },
      ...(hasZapWorker(scenario) ? [{ name: ZAP_THREAD, daemon: true, run: () => this.#zapRoots() }] : []),
    ];
  }

  setup(memory: Memory): void {
    this.machine = new ScenarioMachine(this.scenario, memory, { bugs: this.#bugs, whole: this.#whole });
    this.#threadIds = this.threads.map(({ name }) => this.machine.thread(name).watch.thread.id);
    this.#good.clear();
  }

  reset(): void {
    this.machine.restore();
    this.results.clear();
  }

  *#run(thread: ScriptThread): Task<void> {
    const { machine } = this;
    const { watch } = machine.thread(thread.name);
    const context = machine.context(thread.name);
    for (const operation of thread.operations) {
      let said = '';
      // Every generator between us and a step costs at each step: the two most frequent operations go without some.
      if (operation.op === 'touch') {
        said = yield* touch(context, operation.values);
      } else if (operation.op === 'zaprange') {
        const { gfn, n } = operation.values;
        watch.zapsRange(gfn, gfn + n);
        yield* kvmZapGfnRange(context.vm.kvm, asGfn(gfn), asGfn(gfn + n));
        watch.zappedRange();
      } else {
        const vcpu = vcpuOf(operation);
        said = yield* runOperation(vcpu === undefined ? context : machine.context(vcpuThread(vcpu)), operation);
      }
      this.results.set(operation, said);
      machine.ghost.after(machine, operation, said);
    }
  }

  /** What the kernel's RCU softirq does: waits for pages to be queued, and frees them after a grace period. */
  *#freePages(): Task<void> {
    const { kvm } = this.machine.thread(RCU_THREAD).vm;
    for (;;) {
      while (kvm.memory.load32(yield read(kvm.rcu.head)) === 0) yield untilChanged(kvm.thread, kvm.rcu.head, 0);
      yield* rcuProcessCallbacks(kvm.rcu, kvm.allocator, kvm.thread);
    }
  }

  /** The worker of the kernels that zap roots by one. */
  #zapRoots(): Task<void> {
    return tdpMmuZapWorker(this.machine.thread(ZAP_THREAD).vm.kvm);
  }

  observe(event: StepEvent): void {
    const { task, step } = event;
    const ids = this.#threadIds;
    // Beyond the threads are their store buffers, which write in their stead.
    this.machine.watch.step(ids[task % ids.length], kindOfStep(step), addressOfStep(step), task >= ids.length);
  }

  check(): Finding | null {
    const { machine } = this;
    machine.watch.end();
    this.#state = this.#fingerprintOfState();
    if (this.#good.has(this.#state)) return null;
    const finding = this.#judge();
    if (finding === null) this.#good.add(this.#state);
    return finding;
  }

  /** Contents of the arena, and what vCPUs keep beside it. */
  #fingerprintOfState(): string {
    const { vcpus, memory } = this.machine;
    const beside = vcpus.map(
      ({ mmu }) => `${mmu.root},${mmu.prevRoots.join()},${mmu.pageCache.pages.join()},${mmu.mmioGfn},${mmu.mmioGeneration}`,
    );
    return `${(memory as HashedMemory).hash?.() ?? Math.random()} ${beside.join(' ')}`;
  }

  #judge(): Finding | null {
    const { machine } = this;
    const { vcpus } = machine;
    const reports = checkVm(machine.vm, {
      vcpuRoots: (id) => [vcpus[id].mmu.root, ...vcpus[id].mmu.prevRoots].filter((root) => root !== 0),
      cachedPages: vcpus.flatMap(({ mmu }) => mmu.pageCache.pages),
      sent: (slot, gfn) => machine.ghost.sent(slot, gfn),
      limit: 1,
    });
    for (const { violations } of reports) {
      if (violations.length > 0) return { rule: violations[0].rule, message: violations[0].message };
    }
    return this.#runAfter();
  }

  /** The steps behind the explored one. */
  #runAfter(): Finding | null {
    const { machine } = this;
    let last = [...this.results.values()].at(-1);
    for (const step of this.scenario.after) {
      const [operation] = step.threads[0].operations;
      if (operation.op === 'expect') {
        const failure = checkExpectation(machine, operation.values, last);
        if (failure !== null) return { rule: 'expectation', message: `line ${operation.line}: ${failure}` };
      } else {
        last = machine.runAlone(step).at(-1);
      }
    }
    return null;
  }

  state(): string {
    return this.#state;
  }

  label(address: number): string | undefined {
    const { layout } = this.machine.vm;
    const region = layout.arena.find(address as Address);
    return region === undefined ? undefined : `${region.name}+${address - region.base}`;
  }
}

/** A word of the arena, for reports. */
export const wordAt = (memory: Memory, address: number): number => memory.load32(own(address as Address));

export type { ProgramContext };
