/**
 * Events as the text of the kernel's trace file: its tracepoints by their names and formats, one line each.
 *
 * Times count events, a microsecond each: nothing here takes time. The CPU is the number of the thread.
 */
import { toBigInt } from '../../machine/word64.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import type { Spte } from '../../mmu/spte.ts';
import { isSpteEvent, type PhaseEvent, type PlainEvent } from '../record/event.ts';
import { type SpteRun, shiftPfn } from '../record/spte-run.ts';

/** Width of `TASK-PID` with its indent. */
const TASK_WIDTH = 23;
const FIRST_PID = 101;

/** The letters of an error code, as fast_page_fault prints them. */
const FAULT_FLAGS: readonly (readonly [number, string])[] = [
  [1, 'P'],
  [2, 'W'],
  [4, 'U'],
  [8, 'RSVD'],
  [16, 'F'],
];

/** PFERR_GUEST_FINAL_MASK: the guest's access itself faulted, not its page walk. */
const FINAL_ACCESS = 2 ** 32;

const bare = (hexadecimal: string | number): string => String(hexadecimal).replace(/^0x/, '');
const spteText = (spte: Spte): string => toBigInt(spte).toString(16);
const page = (gfn: string | number): bigint => BigInt(gfn) * 4096n;

type Format = (event: PlainEvent) => readonly [string, string];

const SP = '8-byte q0 direct wux nxe ad root 0 sync';

/** Events that have another name, or more to say, in a trace. */
const FORMATS: Readonly<Record<string, Format>> = {
  npf: ({ fields, detail }) => {
    const address = `0x${page(fields.gfn).toString(16).padStart(16, '0')}`;
    return [
      'kvm_page_fault',
      `vcpu ${fields.vcpu} rip 0x0 address ${address} error_code 0x${(FINAL_ACCESS + Number(detail?.error ?? 0)).toString(16)}`,
    ];
  },
  tdp_page_fault_ret: ({ detail }) => ['npf_done', `gpa=0x${page(detail?.gfn ?? 0).toString(16)} ret=${detail?.code ?? 0}`],
  fast_page_fault: ({ fields, detail }) => {
    const error = Number(detail?.error ?? 0);
    const flags = FAULT_FLAGS.flatMap(([bit, name]) => ((error & bit) !== 0 ? [name] : [])).join('|');
    const code = `${flags}|0x${FINAL_ACCESS.toString(16)}`;
    const fixed = fields.ret === 'FIXED' ? 1 : 0;
    const spurious = fields.ret === 'SPURIOUS' ? 1 : 0;
    const entry = `sptep ${bare(detail?.sptep ?? 0)} old 0x${bare(fields.old)} new ${bare(fields.new)}`;
    const gva = page(fields.gfn).toString(16);
    return ['fast_page_fault', `vcpu ${fields.vcpu} gva ${gva} error_code ${code} ${entry} spurious ${spurious} fixed ${fixed}`];
  },
  requested: ({ fields }) => ['kvm_mmu_spte_requested', `gfn ${bare(fields.gfn)} level ${fields.level}`],
  new_table: ({ fields }) => ['kvm_mmu_get_page', `sp gen 0 gfn ${bare(fields.gfn)} l${fields.level} ${SP} new`],
  table_removed: ({ fields }) => ['kvm_mmu_prepare_zap_page', `sp gen 0 gfn ${bare(fields.gfn)} l${fields.table_level} ${SP}`],
  split_huge_page: ({ fields, detail }) => {
    const text = `gfn ${bare(fields.gfn)} spte ${bare(detail?.spte ?? 0)} level ${fields.level} errno ${fields.errno}`;
    return ['kvm_mmu_split_huge_page', text];
  },
  load_root: () => ['load_pgd', ''],
};

/** Prints events, one after the other. */
export class TracePrinter {
  readonly #print: (line: string) => void;
  readonly #kvm: Kvm;
  readonly #threads: string[] = [];
  #events = 0;

  constructor({ print, kvm }: { print: (line: string) => void; kvm: Kvm }) {
    this.#print = print;
    this.#kvm = kvm;
    for (const line of HEADER) print(line);
  }

  /** Prints an event; a run of SPTEs as so many lines. */
  event(event: PhaseEvent): void {
    if (isSpteEvent(event)) {
      const span = this.#kvm.geometry.span(event.run.level);
      // What a fast page fault changes, only its own tracepoint reports.
      for (let i = 0; i < event.run.n && !event.run.fast; i++) this.#change(event.run, i * span);
      return;
    }
    const [name, text] = FORMATS[event.e]?.(event) ?? [event.e, plainText(event)];
    this.#line(event.by, name, text);
  }

  #change(run: SpteRun, pages: number): void {
    const old = spteText(run.stepOld ? shiftPfn(run.old, pages) : run.old);
    const next = spteText(run.stepNew ? shiftPfn(run.next, pages) : run.next);
    const where = `as id ${run.asId} gfn ${(run.gfn + pages).toString(16)} level ${run.level}`;
    this.#line(run.by, 'kvm_tdp_mmu_spte_changed', `${where} old_spte ${old} new_spte ${next}`);
  }

  #line(by: string, name: string, text: string): void {
    if (!this.#threads.includes(by)) this.#threads.push(by);
    const cpu = this.#threads.indexOf(by);
    const task = `${by.slice(0, 15)}-${FIRST_PID + cpu}`.padStart(TASK_WIDTH - 6).padEnd(TASK_WIDTH);
    const micros = ++this.#events;
    const time = `${Math.floor(micros / 1e6)}.${String(micros % 1e6).padStart(6, '0')}`;
    this.#print(`${task} [${String(cpu).padStart(3, '0')}] ..... ${time.padStart(12)}: ${name}: ${text}`.trimEnd());
  }
}

/** An event that is a kprobe's: its fields as they are. */
function plainText({ fields }: PlainEvent): string {
  return Object.entries(fields)
    .map(([key, value]) => (key === 'text' ? String(value) : `${key}=${value}`))
    .join(' ');
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
