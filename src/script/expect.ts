/**
 * `expect`: what a scenario demands of the state that it has reached. Each check returns why it fails, or null.
 */
import { own } from '../machine/point.ts';
import { hex64 } from '../machine/word64.ts';
import { roleLevel } from '../mmu/mmu-page.ts';
import { isShadowPresentLeaf, isTableLo, type Spte, tablePageLo } from '../mmu/spte.ts';
import type { Vm } from '../vm/vm.ts';
import type { StatReader } from './record/counters.ts';
import { hex, isSpteEvent, type PhaseEvent } from './record/event.ts';
import { changeKinds } from './record/kinds.ts';
import { spteBits } from './record/spte-run.ts';
import { validRoot } from './record/state-dump.ts';
import type { Values } from './vocabulary.ts';

/** What happened so far in the phase. */
export interface ExpectationContext {
  readonly events: readonly PhaseEvent[];
  /** What the last operation said. */
  readonly result: string | undefined;
  readonly stats: StatReader;
}

type Expectation = Values<'expect'>;

/** Checks one expectation of the VM that `vm` is a handle on, while nobody else runs. Returns null where it holds. */
export function checkExpectation(vm: Vm, expect: Expectation, context: ExpectationContext): string | null {
  switch (expect.what) {
    case 'mapped':
      return checkMapped(vm, expect);
    case 'unmapped': {
      const leaf = findLeaf(vm, expect);
      return leaf === null ? null : `${where(expect)} is mapped: ${hex64(leaf.spte)} at level ${leaf.level}`;
    }
    case 'counter':
      return checkCounter(expect, context);
    case 'dirty':
      return checkDirty(vm, expect);
    case 'result': {
      const { result = '' } = context;
      const wanted = expect.is ?? 'ok';
      return result === wanted || result.split(' ').includes(wanted) ? null : `the last result is '${result}', not '${wanted}'`;
    }
    case 'changes':
      return checkChanges(vm, expect, context);
  }
}

const where = ({ gfn }: Expectation): string => (gfn === undefined ? 'gfn (none given)' : `gfn ${hex(gfn)}`);

function findLeaf(vm: Vm, { gfn = 0, as }: Expectation): { readonly spte: Spte; readonly level: number } | null {
  const { kvm } = vm;
  const { geometry, memory, pages } = kvm;
  let page = validRoot(kvm, as);
  if (page === 0) return null;
  for (let level = roleLevel(pages.role(page)); level >= 1; level--) {
    const index = Math.floor(gfn / geometry.span(level)) % geometry.entries;
    const spte = memory.load64(own(pages.sptep(page, index)));
    if (isShadowPresentLeaf(spte, level)) return { spte, level };
    if (!isTableLo(spte.lo, level)) return null;
    page = tablePageLo(spte.lo);
  }
  return null;
}

function checkMapped(vm: Vm, expect: Expectation): string | null {
  const leaf = findLeaf(vm, expect);
  if (leaf === null) return `${where(expect)} is not mapped`;
  if (expect.level !== undefined && leaf.level !== expect.level) {
    return `${where(expect)} is mapped at level ${leaf.level}, not ${expect.level}`;
  }
  const bits = hex64(spteBits(leaf.spte));
  if (expect.bits !== undefined && bits !== expect.bits) return `${where(expect)} has bits ${bits}, not ${expect.bits}`;
  return null;
}

function checkCounter({ name = '', delta, total }: Expectation, { stats }: ExpectationContext): string | null {
  const counters = stats.peek();
  const values = Object.values(counters).flatMap((object) => (name in object ? [object[name]] : []));
  if (values.length === 0) {
    const names = [...new Set(Object.values(counters).flatMap((object) => Object.keys(object)))];
    return `there is no counter '${name}' (allowed: ${names.join(', ')})`;
  }
  const sum = (key: 'total' | 'delta'): number => values.reduce((all, value) => all + value[key], 0);
  if (delta !== undefined && sum('delta') !== delta) return `${name} changed by ${sum('delta')}, not by ${delta}`;
  if (total !== undefined && sum('total') !== total) return `${name} is ${sum('total')}, not ${total}`;
  return null;
}

/** Counts the pages that are dirty in a slot's log, or looks at one. The log stays as it is. */
function checkDirty(vm: Vm, { slot = 0, as, n, gfn }: Expectation): string | null {
  const sets = vm.slots.sets[as];
  const found = sets.decode(vm.memory.load32(own(sets.active))).find(({ id }) => id === slot);
  if (found === undefined || found.dirtyBitmap === 0) return `slot ${slot} has no dirty log`;
  const word = (i: number): number => vm.memory.load32(own((found.dirtyBitmap + i) as typeof found.dirtyBitmap));
  if (gfn !== undefined) {
    const page = gfn - found.baseGfn;
    const dirty = (word(Math.floor(page / 32)) >>> (page & 31)) % 2 === 1;
    return dirty ? null : `gfn ${hex(gfn)} is not dirty in the log of slot ${slot}`;
  }
  let count = 0;
  for (let i = 0; i < found.bitmapWords; i++) for (let w = word(i) >>> 0; w !== 0; w &= w - 1) count++;
  return n === undefined || count === n ? null : `${count} pages are dirty in the log of slot ${slot}, not ${n}`;
}

function checkChanges(vm: Vm, { kind, n = 0 }: Expectation, { events }: ExpectationContext): string | null {
  const kinds = changeKinds(vm.kvm);
  let count = 0;
  for (const event of events) {
    if (isSpteEvent(event) && (kind === undefined || kinds.kindOf(event.run) === kind)) count += event.run.n;
  }
  return count === n ? null : `${count} changes${kind === undefined ? '' : ` of kind ${kind}`}, not ${n}`;
}
