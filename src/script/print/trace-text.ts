/**
 * A run as the text of the kernel's trace file: its tracepoints by their names and formats, one line each, and the calls of user
 * space between them. `tdpsim stress trace` reads it.
 *
 * Times count events, a microsecond each: nothing here takes time. The CPU is the number of the thread.
 */
import { toBigInt } from '../../machine/word64.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import { isLastSpte, isShadowPresent, type Spte, sptePfn } from '../../mmu/spte.ts';
import { CODE_SLOT, vmOf } from '../machine.ts';
import { isSpteEvent, type PhaseEvent, type PhaseRecord, type PlainEvent } from '../record/event.ts';
import { type SpteRun, shiftPfn } from '../record/spte-run.ts';
import { IOCTL_THREAD, type Script, SHELL_THREAD } from '../script.ts';
import type { Operation } from '../vocabulary.ts';
import { TraceCalls } from './trace-calls.ts';
import { TRACE_FORMATS, type TracePlaces, type TraceText } from './trace-formats.ts';

/** Width of `TASK-PID` with its indent. */
const TASK_WIDTH = 23;
const FIRST_PID = 101;
const PAGE_BYTES = 4096;
const GIB = 2 ** 30;
/** Where the host maps the first memory: the next ones lie above it, each on a border of 1 GiB. */
const FIRST_HVA = 0x1000_0000_0000;

export interface TracePrinterOptions {
  readonly print: (line: string) => void;
  readonly script: Script;
  /** Any handle on the VM. */
  readonly kvm: Kvm;
}

const spteText = (spte: Spte): string => toBigInt(spte).toString(16);

/** Prints phases, one after the other. */
export class TracePrinter {
  readonly #print: (line: string) => void;
  readonly #kvm: Kvm;
  readonly #calls: TraceCalls;
  readonly #places: TracePlaces;
  readonly #threads: string[] = [];
  /** Pages of tables by what they map: address space, level and first gfn. */
  readonly #tables = new Map<string, number>();
  #root = 0;
  /** The leaf that a thread has installed last, while it handles a fault. */
  readonly #leaves = new Map<string, { readonly gfn: number; readonly level: number; readonly spte: Spte }>();
  /** Threads that are in a section of mmu_lock. */
  readonly #inLock = new Set<string>();
  #lines = 0;

  constructor({ print, script, kvm }: TracePrinterOptions) {
    this.#print = print;
    this.#kvm = kvm;
    const memory = memoryOf(script);
    const bases = hvaBases(memory);
    const indices = new Map(memory.map(({ name }, i) => [name, i]));
    const hva = (region: number, page: number): number => (bases[region] ?? FIRST_HVA) + page * PAGE_BYTES;
    const self = this;
    this.#places = {
      kvm,
      hva,
      sptep: (gfn, level) => this.#sptep(0, gfn, level),
      get root() {
        return self.#root;
      },
    };
    this.#calls = new TraceCalls({
      hva: (name, offset) => hva(indices.get(name) ?? 0, 0) + offset,
      codeSlot: vmOf(script).code !== 0 ? CODE_SLOT : null,
    });
    for (const line of HEADER) print(line);
    const parameters = [`eager_page_split=${kvm.params.eagerPageSplit ? 'Y' : 'N'}`];
    const [first] = script.phases.flatMap(({ operations }) => operations.filter(({ op }) => op === 'param' || op === 'vm'));
    if (first?.op === 'param') parameters.splice(0, 1, ...parametersBefore(script));
    this.#line(SHELL_THREAD, ['tracing_mark_write', `BEGIN ${script.file} ${parameters.join(' ')} cmd: tdpsim script`]);
  }

  /** Prints a phase: what user space called, and what came of it. */
  phase({ events, calls, results }: PhaseRecord, operations: readonly Operation[]): void {
    let next = 0;
    const callsUpTo = (event: number): void => {
      for (; next < calls.length && calls[next].at <= event; next++) {
        const { by, index, ends } = calls[next];
        const operation = operations[index];
        const lines = ends ? this.#calls.end(operation, results[index]) : this.#calls.begin(operation);
        for (const line of lines) this.#line(by, line);
      }
    };
    for (const [i, event] of events.entries()) {
      callsUpTo(i);
      this.#event(event);
    }
    callsUpTo(events.length);
  }

  #event(event: PhaseEvent): void {
    if (isSpteEvent(event)) {
      const span = this.#kvm.geometry.span(event.run.level);
      // What a fast page fault changes, only its own tracepoint reports.
      for (let i = 0; i < event.run.n && !event.run.fast; i++) this.#change(event.run, i * span);
      return;
    }
    this.#follow(event);
    const format = TRACE_FORMATS[event.e];
    if (format !== undefined) this.#line(event.by, format(event, this.#places));
  }

  /** What other lines have to know of an event. */
  #follow({ e, by, fields, detail }: PlainEvent): void {
    if (e === 'mmu_lock.read_lock' || e === 'mmu_lock.write_lock') this.#inLock.add(by);
    else if (e === 'mmu_lock.read_unlock' || e === 'mmu_lock.write_unlock') this.#inLock.delete(by);
    else if (e === 'new_table' && Number(fields.level) === this.#kvm.config.rootLevel) this.#root = Number(detail?.page ?? 0);
    else if (e === 'npf') this.#leaves.delete(by);
    else if (e === 'tdp_map_ret' && fields.ret === 'FIXED') this.#setSpte(by);
  }

  #change(run: SpteRun, pages: number): void {
    const { asId, level, by } = run;
    const gfn = run.gfn + pages;
    const old = run.stepOld ? shiftPfn(run.old, pages) : run.old;
    const next = run.stepNew ? shiftPfn(run.next, pages) : run.next;
    const where = `as id ${asId} gfn ${gfn.toString(16)} level ${level}`;
    this.#line(by, ['kvm_tdp_mmu_spte_changed', `${where} old_spte ${spteText(old)} new_spte ${spteText(next)}`]);
    if (!isShadowPresent(next)) return;
    if (isLastSpte(next, level as 1)) this.#leaves.set(by, { gfn, level, spte: next });
    else this.#tables.set(`${asId}:${level - 1}:${gfn}`, sptePfn(next));
  }

  /** kvm_mmu_set_spte: what a fault has installed. */
  #setSpte(by: string): void {
    const leaf = this.#leaves.get(by);
    if (leaf === undefined) return;
    this.#leaves.delete(by);
    const { gfn, level, spte } = leaf;
    const at = this.#sptep(0, gfn, level) ?? 0n;
    const text = `gfn ${gfn.toString(16)} spte ${spteText(spte)} (${this.#access(spte)}) level ${level} at ${at.toString(16)}`;
    this.#line(by, ['kvm_mmu_set_spte', text]);
  }

  /** `rwxu`: what an entry allows; `u` is no bit of EPT's. */
  #access({ lo, hi }: Spte): string {
    const npt = this.#kvm.config.cpu === 'npt';
    const executable = npt ? hi >= 0 : (lo & 4) !== 0;
    return `r${(lo & 2) !== 0 ? 'w' : '-'}${executable ? 'x' : '-'}${npt ? 'u' : ''}`;
  }

  /** Physical address of an entry, as far as the changes so far tell where its table is. */
  #sptep(asId: number, gfn: number, level: number): bigint | null {
    const { geometry, config } = this.#kvm;
    const above = level + 1 > config.rootLevel ? 0 : Math.floor(gfn / geometry.span(level + 1)) * geometry.span(level + 1);
    const table = level === config.rootLevel ? this.#root : this.#tables.get(`${asId}:${level}:${above}`);
    if (table === undefined) return null;
    return BigInt(table) * 4096n + 8n * BigInt(Math.floor(gfn / geometry.span(level)) % geometry.entries);
  }

  #line(by: string, [name, text]: TraceText): void {
    const thread = by === '' ? IOCTL_THREAD : by;
    if (!this.#threads.includes(thread)) this.#threads.push(thread);
    const cpu = this.#threads.indexOf(thread);
    const task = `${thread.slice(0, 15)}-${FIRST_PID + cpu}`.padStart(TASK_WIDTH - 6).padEnd(TASK_WIDTH);
    const micros = ++this.#lines;
    const time = `${Math.floor(micros / 1e6)}.${String(micros % 1e6).padStart(6, '0')}`;
    const flags = this.#inLock.has(thread) ? '...1.' : '.....';
    this.#print(`${task} [${String(cpu).padStart(3, '0')}] ${flags} ${time.padStart(12)}: ${name}: ${text}`.trimEnd());
  }
}

interface Memory {
  readonly name: string;
  readonly bytes: number;
}

/** The host's regions, in the order of their numbers. */
function memoryOf(script: Script): readonly Memory[] {
  const own = script.phases.flatMap(({ operations }) =>
    operations.flatMap((operation) =>
      operation.op === 'mem' ? [{ name: operation.values.mem, bytes: operation.values.size }] : [],
    ),
  );
  return vmOf(script).code !== 0 ? [{ name: CODE_SLOT.mem, bytes: PAGE_BYTES }, ...own] : own;
}

/** Host virtual address of each region's first byte. */
function hvaBases(memory: readonly Memory[]): readonly number[] {
  let next = FIRST_HVA;
  return memory.map(({ bytes }) => {
    const base = next;
    next += Math.ceil(bytes / GIB) * GIB + GIB;
    return base;
  });
}

/** The module parameters that a script writes before there is a VM. */
function parametersBefore(script: Script): string[] {
  const operations = script.phases.flatMap((phase) => phase.operations);
  const before = operations.slice(
    0,
    operations.findIndex(({ op }) => op === 'vm'),
  );
  return before.flatMap((operation) => (operation.op === 'param' ? [TraceCalls.parameter(operation.values)] : []));
}

const HEADER: readonly string[] = [
  '# tracer: nop',
  '#',
  '#                                _-----=> irqs-off/BH-disabled',
  '#                               / _----=> need-resched',
  '#                              | / _---=> hardirq/softirq',
  '#                              || / _--=> preempt-depth',
  '#                              ||| / _-=> migrate-disable',
  '#                              |||| /     delay',
  '#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION',
  '#              | |         |   |||||     |         |',
];
