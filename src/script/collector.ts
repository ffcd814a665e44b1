/**
 * What the threads of a script report, put together phase by phase: their events in the order of the shared numbers, what
 * operations said, and at each pause, while all of them rest, the statistics and the page table.
 */
import type { Kvm } from '../mmu/kvm.ts';
import type { Vm } from '../vm/vm.ts';
import type { ScriptReport } from '../workloads/programs/script-thread.ts';
import { checkExpectation } from './expect.ts';
import type { ProgramStep, ScriptProgram } from './program.ts';
import { StatReader } from './record/counters.ts';
import { isSpteEvent, type PhaseCall, type PhaseEvent, type PhaseRecord } from './record/event.ts';
import type { NumberedCall } from './record/recorder.ts';
import { extendRun } from './record/spte-run.ts';
import { dumpState } from './record/state-dump.ts';
import { type Script, vcpuThread } from './script.ts';
import { ExpectationError } from './script-error.ts';

interface Numbered {
  readonly number: number;
  readonly event: PhaseEvent | NumberedCall;
}

const isCall = (event: Numbered['event']): event is NumberedCall => 'ends' in event;

export interface CollectorOptions {
  readonly script: Script;
  readonly program: ScriptProgram;
  /** How many vCPUs the VM has. */
  readonly vcpus: number;
}

export class ScriptCollector {
  /** Phases that are over. */
  readonly phases: PhaseRecord[] = [];
  /** An expectation that did not hold: the run ends there. */
  failure: ExpectationError | null = null;
  readonly #options: CollectorOptions;
  /** The steps behind which threads pause, in order. */
  readonly #pauses: readonly ProgramStep[];
  #pause = 0;
  #stats: StatReader | null = null;
  #counters: readonly Float64Array[] = [];
  /** Events that belong to no phase yet. */
  #waiting: Numbered[] = [];
  /** Events of the phase under way. */
  #events: PhaseEvent[] = [];
  #calls: PhaseCall[] = [];
  /** Where the pause at hand is in the order of events. */
  #until = Number.POSITIVE_INFINITY;
  /** What operations said, by phase. */
  readonly #results = new Map<number, Map<number, string>>();
  #lastResult: string | undefined;
  #zapAlls = 0;
  #alive = false;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#pauses = options.program.steps.filter((step) => step.endsPhase || expectationOf(step) !== null);
  }

  /** The counters of the plan's threads. */
  counters(counters: readonly Float64Array[]): void {
    this.#counters = counters;
  }

  report(report: ScriptReport): void {
    if (report.kind === 'events') {
      for (const [i, event] of report.events.entries()) this.#waiting.push({ number: report.numbers[i], event });
      for (const call of report.calls) this.#waiting.push({ number: call.number, event: call });
    } else if (report.kind === 'result') {
      this.#resultsOf(report.phase).set(report.index, report.said);
      this.#lastResult = report.said;
    } else {
      this.#until = report.number;
    }
  }

  /** All threads have paused: looks at the state. Returns whether the run may go on. */
  paused(vm: Vm): boolean {
    const step = this.#pauses[this.#pause++];
    this.#takeEvents(vm.kvm, this.#until);
    const stats = (this.#stats ??= this.#reader(vm.kvm));
    const { script } = this.#options;
    const { operations } = script.phases[step.phase];
    const expectation = expectationOf(step);
    if (expectation !== null) {
      const context = { events: this.#events, result: this.#lastResult, stats };
      const message = checkExpectation(vm, expectation.values, context);
      if (message !== null) {
        this.failure = new ExpectationError({ file: script.file, line: expectation.line, message });
        return false;
      }
    }
    if (!step.endsPhase) return true;
    for (const { op } of operations) if (op === 'vm' || op === 'destroy') this.#alive = op === 'vm';
    const counters = stats.read();
    this.#closePhase(step.phase, { counters: this.#alive ? counters : {}, end: this.#alive ? dumpState(vm.kvm) : null });
    return true;
  }

  /** The run has ended, in the middle of a phase perhaps: what is known of that one is its last record. */
  end(vm: Vm): void {
    this.#takeEvents(vm.kvm, Number.POSITIVE_INFINITY);
    const phase = this.phases.length;
    if (phase < this.#options.script.phases.length && (this.#events.length > 0 || this.#results.has(phase))) {
      this.#closePhase(phase, { counters: {}, end: null });
    }
  }

  #closePhase(n: number, { counters, end }: Pick<PhaseRecord, 'counters' | 'end'>): void {
    const { words, operations } = this.#options.script.phases[n];
    const said = this.#resultsOf(n);
    const results = operations.map((_, i) => said.get(i) ?? '');
    this.phases.push({ n, words, results, events: this.#events, calls: this.#calls, counters, end });
    this.#events = [];
    this.#calls = [];
    this.#lastResult = undefined;
  }

  #resultsOf(phase: number): Map<number, string> {
    let results = this.#results.get(phase);
    if (results === undefined) this.#results.set(phase, (results = new Map()));
    return results;
  }

  #reader(kvm: Kvm): StatReader {
    const { program, vcpus } = this.#options;
    const threadOf = (vcpu: number): number => program.threads.indexOf(vcpuThread(vcpu));
    const ofVcpus = Array.from({ length: vcpus }, (_, vcpu) => this.#counters[threadOf(vcpu)]);
    return new StatReader({ kvm, counters: this.#counters, vcpus: ofVcpus });
  }

  /** Moves the events numbered below `until` to the phase under way. */
  #takeEvents({ geometry }: Kvm, until: number): void {
    this.#waiting.sort((a, b) => a.number - b.number);
    let taken = 0;
    for (const { number, event } of this.#waiting) {
      if (number >= until) break;
      taken++;
      if (isCall(event)) {
        this.#calls.push({ at: this.#events.length, by: event.by, index: event.index, ends: event.ends });
        continue;
      }
      const last = this.#events.at(-1);
      // A run may have been cut where a thread reported.
      const span = isSpteEvent(event) ? geometry.span(event.run.level) : 0;
      const joins = last !== undefined && isSpteEvent(last) && isSpteEvent(event) && event.run.n === 1;
      if (joins && extendRun(last.run, event.run, span)) continue;
      this.#events.push(this.#renumbered(event));
    }
    this.#waiting.splice(0, taken);
  }

  /** Threads do not know how often others have made all roots obsolete. */
  #renumbered(event: PhaseEvent): PhaseEvent {
    if (isSpteEvent(event) || event.e !== 'kvm_mmu_zap_all_fast') return event;
    const text = String(event.fields.text).replace(/valid-gen \d+/, `valid-gen ${this.#zapAlls++ & 1}`);
    return { ...event, fields: { ...event.fields, text } };
  }
}

function expectationOf({ lanes }: ProgramStep) {
  const operation = lanes[0]?.operations[0]?.operation;
  return operation?.op === 'expect' ? operation : null;
}
