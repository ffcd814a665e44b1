/**
 * One line of ftrace text: who, where, when, and what (kernel: print_trace_line in kernel/trace/trace.c, trace events of
 * arch/x86/kvm/trace.h and mmu/mmutrace.h; the ioctls and function entries as kprobe events).
 *
 * Formats differ between kernels and options (`irq-info`, `record-tgid`, `print-parent`): what is not needed may be missing.
 */
import { Word64 } from '../machine/word64.ts';
import type { Level } from '../mmu/level.ts';

/** A line that is an event, taken apart. */
export interface FtraceLine {
  readonly task: string;
  readonly pid: number;
  /** Microseconds of the trace clock. */
  readonly us: number;
  /** Name of the event. */
  readonly event: string;
  readonly text: string;
}

/** `TASK-PID (TGID) [CPU] FLAGS SECONDS: EVENT: TEXT` */
const LINE =
  /^\s*(?<task>.{1,16}?)-(?<pid>\d+)\s+(?:\(\s*[\d-]+\)\s+)?\[(?<cpu>\d+)\]\s+(?:[.\w#]{4,8}\s+)?(?<seconds>\d+)\.(?<fraction>\d{1,9}):\s+(?<event>[\w.]+):\s?(?<text>.*)$/;

/** Takes a line apart; null for one that is no event: a comment, an empty line, a note about lost events. */
export function parseFtraceLine(line: string): FtraceLine | null {
  const groups = LINE.exec(line)?.groups;
  if (groups === undefined) return null;
  return {
    task: groups.task.trim(),
    pid: Number(groups.pid),
    us: Number(groups.seconds) * 1e6 + Math.floor(Number(groups.fraction.padEnd(9, '0')) / 1000),
    event: groups.event,
    text: groups.text,
  };
}

/** `kvm_page_fault: vcpu 0 rip 0x… address 0x… error_code 0x…`; kernels before 5.20 have no vCPU, and flags as names. */
export interface PageFaultEvent {
  /** Null where the kernel does not print it. */
  readonly vcpu: number | null;
  /** Guest-physical address. */
  readonly gfn: number;
  readonly present: boolean;
  readonly write: boolean;
  readonly exec: boolean;
  /** Reserved bit: an access to a known MMIO page. */
  readonly reserved: boolean;
}

const FAULT = /(?:vcpu (?<vcpu>\d+) )?(?:rip (?:0x)?[\da-f]+ )?address (?:0x)?(?<address>[\da-f]+) error_code (?<code>\S+)/i;

export function parsePageFault(text: string): PageFaultEvent | null {
  const groups = FAULT.exec(text)?.groups;
  if (groups === undefined) return null;
  const code = Number.parseInt(groups.code, 16);
  const address = Number.parseInt(groups.address, 16);
  if (Number.isNaN(code) || !Number.isSafeInteger(address)) return null;
  return {
    vcpu: groups.vcpu === undefined ? null : Number(groups.vcpu),
    gfn: Math.floor(address / 4096),
    present: (code & 1) !== 0,
    write: (code & 2) !== 0,
    reserved: (code & 8) !== 0,
    exec: (code & 16) !== 0,
  };
}

/** The `name=value` pairs of a kprobe event, decimal or hexadecimal; others are left out. */
export function parseFields(text: string): Readonly<Record<string, number>> {
  const fields: Record<string, number> = {};
  for (const [, name, value] of text.matchAll(/\b(\w+)=(0x[\da-f]+|-?\d+)\b/gi)) fields[name] = Number(value);
  return fields;
}

/** `mmu notifier unmap range: 0x… -- 0x…`: host virtual bytes [start, end). */
export function parseUnmapRange(text: string): { start: number; end: number } | null {
  const match = /(0x[\da-f]+) -- (0x[\da-f]+)/i.exec(text);
  return match && { start: Number(match[1]), end: Number(match[2]) };
}

/** Level of the leaf that `kvm_mmu_set_spte` or `kvm_mmu_split_huge_page` speaks of, and its gfn. */
export function parseLeaf(text: string): { gfn: number; level: number } | null {
  const match = /gfn (?:0x)?([\da-f]+) spte \S+ (?:\(\S*\) )?level (\d)/i.exec(text);
  return match && { gfn: Number.parseInt(match[1], 16), level: Number(match[2]) };
}

/** `as id 0 gfn … level 1 old_spte … new_spte …`: one SPTE changed; values without `0x`. */
export interface SpteChangeEvent {
  readonly asId: number;
  readonly gfn: number;
  readonly level: Level;
  readonly old: Word64;
  readonly next: Word64;
}

const CHANGE = /as id (\d+) gfn ([\da-f]+) level ([1-5]) old_spte ([\da-f]+) new_spte ([\da-f]+)/i;

export function parseSpteChange(text: string): SpteChangeEvent | null {
  const match = CHANGE.exec(text);
  if (match === null) return null;
  const level = Number(match[3]) as Level;
  return { asId: Number(match[1]), gfn: Number.parseInt(match[2], 16), level, old: word(match[4]), next: word(match[5]) };
}

/** A 64-bit value in hexadecimal. */
function word(text: string): Word64 {
  return new Word64(Number.parseInt(text.slice(-8), 16), Number.parseInt(text.slice(0, -8) || '0', 16));
}
