/**
 * From the lines of a phase to its steps: what runs alone, and what runs side by side.
 *
 * `atouch` starts a vCPU; whatever follows runs beside it until `wait`, or until the phase ends. `thread NAME` names the
 * thread of the operations below it; `join`, or the end of the phase, lets all named threads run together.
 */
import { IOCTL_THREAD, type ScriptStep, threadOf, vcpuOf } from './script.ts';
import { ScriptError } from './script-error.ts';
import type { Operation } from './vocabulary.ts';

/** A line of a phase. */
export type PhaseItem =
  | { readonly kind: 'operation'; readonly operation: Operation }
  | { readonly kind: 'thread'; readonly name: string; readonly line: number }
  | { readonly kind: 'join'; readonly line: number };

interface OpenThread {
  readonly name: string;
  readonly line: number;
  readonly operations: Operation[];
}

/** What cannot stand below `thread`: it starts or ends what threads run on. */
const NOT_IN_THREADS: readonly string[] = ['vm', 'mem', 'atouch', 'wait', 'destroy', 'expect'];

class StepBuilder {
  readonly steps: ScriptStep[] = [];
  readonly #file: string;
  #threads: OpenThread[] = [];
  #named: OpenThread | null = null;

  constructor(file: string) {
    this.#file = file;
  }

  add(item: PhaseItem): void {
    if (item.kind === 'thread') this.#openThread(item.name, item.line);
    else if (item.kind === 'join') this.#join(item.line);
    else if (this.#named !== null) this.#addToThread(this.#named, item.operation);
    else this.#addPlain(item.operation);
  }

  /** The step under construction is complete. */
  close(): void {
    if (this.#threads.length > 0) {
      this.#checkVcpus();
      this.steps.push({ line: this.#threads[0].line, threads: this.#threads });
    }
    this.#threads = [];
    this.#named = null;
  }

  #thread(name: string, line: number): OpenThread {
    let thread = this.#threads.find((t) => t.name === name);
    if (thread === undefined) {
      thread = { name, line, operations: [] };
      this.#threads.push(thread);
    }
    return thread;
  }

  #openThread(name: string, line: number): void {
    if (this.#named === null) this.close();
    if (this.#threads.some((thread) => thread.name === name)) this.#fail(line, `thread '${name}' stands here twice`);
    this.#named = this.#thread(name, line);
  }

  #join(line: number): void {
    if (this.#named === null) this.#fail(line, "'join' without a 'thread' before it");
    this.close();
  }

  #addToThread(thread: OpenThread, operation: Operation): void {
    if (NOT_IN_THREADS.includes(operation.op)) this.#fail(operation.line, `'${operation.op}' cannot stand in a thread`);
    thread.operations.push(operation);
  }

  /** An operation outside of named threads: alone, or beside the vCPUs that `atouch` started. */
  #addPlain(operation: Operation): void {
    if (operation.op === 'wait') {
      this.close();
    } else if (operation.op === 'expect') {
      // It looks at what all have left.
      this.close();
      this.#thread(threadOf(operation), operation.line).operations.push(operation);
      this.close();
    } else if (operation.op === 'atouch') {
      this.#thread(threadOf(operation), operation.line).operations.push(operation);
    } else if (this.#threads.length > 0) {
      this.#thread(IOCTL_THREAD, operation.line).operations.push(operation);
    } else {
      this.#thread(threadOf(operation), operation.line).operations.push(operation);
      this.close();
    }
  }

  #checkVcpus(): void {
    const users = new Map<number, string>();
    for (const { name, line, operations } of this.#threads) {
      if (operations.length === 0) this.#fail(line, `thread '${name}' has no operation`);
      // A thread of that name is the vCPU's own.
      const own = /^vcpu(\d+)$/.exec(name);
      if (own !== null) users.set(Number(own[1]), users.get(Number(own[1])) ?? name);
      for (const operation of operations) {
        const vcpu = vcpuOf(operation);
        if (vcpu === undefined) continue;
        const other = users.get(vcpu) ?? name;
        if (other !== name) this.#fail(operation.line, `vCPU ${vcpu} runs on thread '${other}' at the same time`);
        users.set(vcpu, name);
      }
    }
  }

  #fail(line: number, message: string): never {
    throw new ScriptError({ file: this.#file, line, message });
  }
}

/** Divides the lines of a phase into steps. Errors: ScriptError. */
export function stepsOf(file: string, items: readonly PhaseItem[]): readonly ScriptStep[] {
  const builder = new StepBuilder(file);
  for (const item of items) builder.add(item);
  builder.close();
  return builder.steps;
}
