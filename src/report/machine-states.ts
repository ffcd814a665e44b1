/**
 * Pictures of the machine while a schedule is replayed: page tables, who holds and waits for which lock, who is in an RCU
 * section, and what TLBs hold. Equal page tables are kept once.
 */
import { LOCK_NUMBERS, LockNumber, lockName } from '../machine/lock-number.ts';
import { LockMode } from '../machine/probe.ts';
import { PageHeader, roleAsId, roleInvalid } from '../mmu/mmu-page.ts';
import { QuiescentState } from '../oracles/quiescent-state.ts';
import { isLeafAt, isTableAt, type Position, walkTables } from '../oracles/table-walk.ts';
import { tlbEntries } from '../vm/tlb.ts';
import type { Vm } from '../vm/vm.ts';
import { describeSpte, hex } from './describe-spte.ts';
import type { PageEntry, PageState, PageThread, PageTree } from './page/page-data.ts';

/** What a thread holds, as its reports tell. */
class Holdings {
  /** By lock: 0, or 1 and the mode. */
  readonly held = new Uint8Array(LOCK_NUMBERS);
  waitsFor = -1;
  waitMode: LockMode = LockMode.write;
  rcuDepth = 0;
  operation = '';
}

export class MachineStates {
  readonly forests: PageTree[][] = [];
  readonly states: PageState[] = [];
  readonly #vm: Vm;
  readonly #threads: readonly Holdings[];
  /** The vCPU of each thread, -1 for none. */
  readonly #vcpus: readonly number[];
  readonly #known = new Map<string, number>();
  readonly #detached = new Set<number>();

  constructor(vm: Vm, vcpus: readonly number[]) {
    this.#vm = vm;
    this.#vcpus = vcpus;
    this.#threads = vcpus.map(() => new Holdings());
  }

  entered(thread: number, operation: string): void {
    this.#threads[thread].operation = operation;
  }

  attempted(thread: number, lock: number, mode: LockMode): void {
    this.#threads[thread].waitsFor = lock;
    this.#threads[thread].waitMode = mode;
  }

  acquired(thread: number, lock: number, mode: LockMode): void {
    const { held } = this.#threads[thread];
    held[lock] = 1 + mode;
    this.#threads[thread].waitsFor = -1;
  }

  released(thread: number, lock: number): void {
    this.#threads[thread].held[lock] = 0;
  }

  rcu(thread: number, change: 1 | -1): void {
    this.#threads[thread].rcuDepth += change;
  }

  detached(page: number): void {
    this.#detached.add(page);
  }

  freed(page: number): void {
    this.#detached.delete(page);
  }

  /** How a thread stands in two characters: R or W where it holds mmu_lock, r in an RCU section. */
  marks(thread: number): string {
    const { held, rcuDepth } = this.#threads[thread];
    return `${[' ', 'R', 'W'][held[LockNumber.mmuLock]]}${rcuDepth > 0 ? 'r' : ' '}`;
  }

  /** Takes a picture. */
  take(): void {
    const state = new QuiescentState(this.#vm);
    const forest = trees(state);
    const text = JSON.stringify(forest);
    let index = this.#known.get(text);
    if (index === undefined) {
      index = this.forests.push(forest) - 1;
      this.#known.set(text, index);
    }
    const threads = this.#threads.map((holdings, thread) => this.#threadState(state, holdings, this.#vcpus[thread]));
    this.states.push({ forest: index, threads, detached: [...this.#detached] });
  }

  #threadState(state: QuiescentState, { held, waitsFor, waitMode, rcuDepth, operation }: Holdings, vcpu: number): PageThread {
    const holds = [...held].flatMap((mode, lock) => (mode === 0 ? [] : [lockText(lock, (mode - 1) as LockMode)]));
    return {
      operation,
      holds,
      waitsFor: waitsFor < 0 ? '' : lockText(waitsFor, waitMode),
      rcu: rcuDepth > 0,
      tlb: vcpu < 0 ? null : translations(state, vcpu),
    };
  }
}

const lockText = (lock: number, mode: LockMode): string =>
  lock === LockNumber.mmuLock ? `${lockName(lock)} (${mode === LockMode.read ? 'read' : 'write'})` : lockName(lock);

/** What the vCPU's TLB would use: translations of other roots cannot be reached. */
function translations(state: QuiescentState, vcpu: number): string[] {
  const root = state.currentRoot(vcpu);
  return tlbEntries(state.memory, state.kvm.geometry, state.areas[vcpu])
    .filter((entry) => entry.root === root)
    .map(
      ({ level, gfn, pfn, writable }) =>
        `level ${level}, gfn ${hex(gfn)}: frame ${hex(pfn)}, ${writable ? 'writable' : 'read-only'}`,
    );
}

function trees(state: QuiescentState): PageTree[] {
  const found = new Map<number, PageEntry[]>(state.roots().map((root) => [root, []]));
  walkTables(state, (at) => found.get(at.root)?.push(entryAt(state, at)));
  return [...found].map(([root, entries]) => {
    const role = state.header(root, PageHeader.role);
    return { root, asId: roleAsId(role), invalid: roleInvalid(role), entries };
  });
}

function entryAt({ kvm }: QuiescentState, at: Position): PageEntry {
  const { page, index, level, gfn, spte } = at;
  const kind = kvm.spte.isFrozen(spte) ? 'frozen' : isTableAt(at) ? 'table' : isLeafAt(at) ? 'leaf' : 'mmio';
  return { key: `${page}.${index}`, level, gfn, kind, text: describeSpte(kvm, spte, level) };
}
