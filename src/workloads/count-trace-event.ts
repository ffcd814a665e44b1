/** Counting what a line of a recorded trace reports, by the rules by which a run counts its own events. */
import type { MmuEventCounts } from '../engines/measure/mmu-events.ts';
import type { Level } from '../mmu/level.ts';
import { parseSpteChange } from './ftrace-line.ts';

const LEVELS_MAX = 5;

const ERROR_CODE = /error_code (?:0x)?(?<code>[\da-f]+)/i;
const RETURNED = /\bret=(?<ret>-?\d+|0x[\da-f]+)/i;
const FAST = /spurious (?<spurious>\d) fixed (?<fixed>\d)/;
const SPLIT = /level (?<level>\d) errno (?<errno>-?\d+)/;
const PAGE = /\bl(?<level>\d)\b/;

/** Counts an event, if it is one of those that are counted. */
export function countTraceEvent(counts: MmuEventCounts, event: string, text: string): void {
  switch (event) {
    case 'kvm_tdp_mmu_spte_changed': {
      const change = parseSpteChange(text);
      if (change) counts.spteChanged(change.level, change.old, change.next);
      return;
    }
    case 'kvm_page_fault': {
      const code = ERROR_CODE.exec(text)?.groups?.code;
      // Bits above the low ones tell where the fault came from.
      if (code) counts.pageFault(Number.parseInt(code.slice(-2), 16));
      return;
    }
    case 'npf_done': {
      const ret = RETURNED.exec(text)?.groups?.ret;
      if (ret) counts.pageFaultDone(Number(ret));
      return;
    }
    case 'fast_page_fault': {
      const found = FAST.exec(text)?.groups;
      if (found) counts.fastPageFault(found.fixed === '1', found.spurious === '1');
      return;
    }
    case 'kvm_mmu_set_spte':
      counts.spteSet();
      return;
    case 'kvm_mmu_split_huge_page': {
      const found = SPLIT.exec(text)?.groups;
      const level = levelOf(found?.level);
      if (found && level) counts.split(level, Number(found.errno));
      return;
    }
    case 'kvm_mmu_get_page':
    case 'kvm_mmu_prepare_zap_page': {
      const level = levelOf(PAGE.exec(text)?.groups?.level);
      if (level === null || text.endsWith('existing')) return;
      if (event === 'kvm_mmu_get_page') counts.tableAllocated(level);
      else counts.tableRemoved(level);
      return;
    }
    default:
      counts.operation(event);
  }
}

function levelOf(text: string | undefined): Level | null {
  const level = Number(text);
  return level >= 1 && level <= LEVELS_MAX ? (level as Level) : null;
}
