/**
 * What a script must get right before anything runs: names that exist, geometry that a machine could have. What a kernel
 * refuses at run time (slots that overlap, say) is not checked here: it is a result.
 */
import type { Script } from './script.ts';
import { ScriptError } from './script-error.ts';
import type { Operation, Values } from './vocabulary.ts';

export const PAGE_BYTES = 4096;
/** Name of the memory that holds the guest's code. */
export const CODE_MEMORY = 'code';
/** Above this the simulator has no room for vCPUs of a script. */
const VCPUS_MAX = 1024;
/** Entries of a table: what hardware has is the most. */
const ENTRIES_MAX = 512;
/** A dirty ring of two entries. */
const RING_BYTES_MIN = 32;
/** What may still be done when the VM is gone. */
const AFTER_DESTROY: readonly string[] = ['shell', 'wait', 'expect'];
/** Levels of huge pages: 2M and 1G. */
const HUGE_LEVEL: Readonly<Record<string, number>> = { '2m': 1, '1g': 2 };

class Checker {
  readonly #file: string;
  #vm: Values<'vm'> | null = null;
  #destroyed = false;
  readonly #memory = new Map<string, number>();

  constructor(file: string) {
    this.#file = file;
  }

  check(operation: Operation): void {
    const { op, line } = operation;
    switch (op) {
      case 'param':
      case 'sys':
        return;
      case 'vm':
        this.#checkVm(operation.values, line);
        return;
      default:
        if (this.#vm === null && op !== 'shell') this.#fail(line, `'${op}' before 'vm': there is no VM yet`);
        if (this.#destroyed && !AFTER_DESTROY.includes(op)) this.#fail(line, `'${op}' after 'destroy': there is no VM any more`);
    }
    if (op === 'destroy') this.#destroyed = true;
    this.#checkUse(operation);
  }

  #checkVm(vm: Values<'vm'>, line: number): void {
    if (this.#vm !== null) this.#fail(line, 'a script has one VM', ["one 'vm'"]);
    if (vm.vcpus > VCPUS_MAX) this.#fail(line, `vm: ${vm.vcpus} vCPUs are too many`, [`1 to ${VCPUS_MAX}`]);
    if (!Number.isInteger(Math.log2(vm.entries)) || vm.entries > ENTRIES_MAX) {
      this.#fail(line, `vm: entries=${vm.entries}: a table has a power of two of entries`, [
        '2',
        '4',
        '8',
        '…',
        `${ENTRIES_MAX}`,
      ]);
    }
    if (vm.levels > 5) this.#fail(line, `vm: levels=${vm.levels}`, ['4', '5']);
    if (vm.manual === 2 || vm.manual > 3) this.#fail(line, `vm: manual=${vm.manual}`, ['0', '1', '3']);
    if (vm.dirty_ring > 0 && (!Number.isInteger(Math.log2(vm.dirty_ring)) || vm.dirty_ring < RING_BYTES_MIN)) {
      this.#fail(line, `vm: dirty_ring=${vm.dirty_ring} bytes`, ['0', `powers of two from ${RING_BYTES_MIN} on`]);
    }
    if (vm.ad === 0 && vm.cpu === 'npt') this.#fail(line, 'vm: ad=0: NPT always has A/D bits', ['cpu=ept ad=0']);
    this.#vm = vm;
  }

  #checkUse(operation: Operation): void {
    const { line } = operation;
    switch (operation.op) {
      case 'mem':
        this.#checkMem(operation.values, line);
        break;
      case 'slot':
        this.#checkSlot(operation.values, line);
        break;
      case 'touch':
      case 'atouch': {
        const { vcpu, gfn, n, stride, off } = operation.values;
        this.#checkVcpu(vcpu, line);
        this.#checkGfns(gfn, (n - 1) * stride + 1, line);
        if (off >= PAGE_BYTES) this.#fail(line, `off=${off} lies beyond the page`, ['0 to 4095']);
        return;
      }
      case 'role':
        this.#checkVcpu(operation.values.vcpu, line);
        break;
      case 'prefault':
        this.#checkVcpu(operation.values.vcpu, line);
        this.#checkGfns(operation.values.gfn, operation.values.n, line);
        break;
      case 'zaprange':
        this.#checkGfns(operation.values.gfn, operation.values.n, line);
        break;
      case 'moveslot':
      case 'track':
      case 'untrack':
        this.#checkGfns(operation.values.gfn, 1, line);
        break;
      case 'madvise':
      case 'mprotect':
      case 'munmap':
      case 'remap':
        this.#checkRange(operation.values.mem, operation.values.off, operation.values.len, line);
        break;
      case 'hosttouch':
        this.#checkRange(operation.values.mem, operation.values.off, operation.values.n * PAGE_BYTES, line);
        break;
      case 'expect':
        this.#checkExpectation(operation.values, line);
        return;
      case 'age':
        if (operation.values.mem !== undefined) {
          const { mem, off, len = PAGE_BYTES } = operation.values;
          this.#checkRange(mem, off, len, line);
        }
        return;
      default:
    }
  }

  /** What an expectation of its kind cannot do without. */
  #checkExpectation(expect: Values<'expect'>, line: number): void {
    const { what, gfn, name, delta, total, slot, n, bits } = expect;
    const wants = (missing: boolean, key: string): void => {
      if (missing) this.#fail(line, `expect ${what}: ${key} is missing`);
    };
    if (this.#destroyed && what !== 'result' && what !== 'changes') {
      this.#fail(line, `'expect ${what}' after 'destroy': there is no VM any more`, ['result', 'changes']);
    }
    if (what === 'mapped' || what === 'unmapped') wants(gfn === undefined, "'gfn'");
    if (what === 'counter') wants(name === undefined, "'name'");
    if (what === 'counter') wants(delta === undefined && total === undefined, "'delta' or 'total'");
    if (what === 'dirty') wants(slot === undefined, "'slot'");
    if (what === 'dirty') wants(n === undefined && gfn === undefined, "'n' or 'gfn'");
    if (what === 'changes') wants(n === undefined, "'n'");
    if (bits !== undefined && !/^0x[0-9a-f]+$/.test(bits)) {
      this.#fail(line, `expect ${what}: bits=${bits}`, ['0x and lower-case hexadecimal']);
    }
  }

  #checkMem({ mem, type, size }: Values<'mem'>, line: number): void {
    if (this.#memory.has(mem)) this.#fail(line, `memory '${mem}' is there already`);
    if (mem === CODE_MEMORY) this.#fail(line, `memory '${mem}' is that of the guest's code`, ['any other name']);
    const unit = PAGE_BYTES * (this.#vm?.entries ?? 1) ** (HUGE_LEVEL[type] ?? 0);
    if (size % unit !== 0) this.#fail(line, `mem ${mem}: ${size} bytes are no whole pages`, [`multiples of ${unit}`]);
    this.#memory.set(mem, size);
  }

  #checkSlot({ gfn, npages, mem, off, as }: Values<'slot'>, line: number): void {
    if (off % PAGE_BYTES !== 0) this.#fail(line, `slot: off=${off} is within a page`, [`multiples of ${PAGE_BYTES}`]);
    this.#checkRange(mem, off, npages * PAGE_BYTES, line);
    this.#checkGfns(gfn, npages, line);
    if (as > 1) this.#fail(line, `slot: as=${as}: there is no such address space`, ['0', '1']);
  }

  #checkRange(mem: string, off: number, bytes: number, line: number): void {
    const size = this.#memory.get(mem);
    if (size === undefined) this.#fail(line, `there is no memory '${mem}'`, [...this.#memory.keys()]);
    if (off + bytes > size!) {
      this.#fail(line, `${bytes} bytes from ${off} on go beyond memory '${mem}'`, [`up to ${size} bytes`]);
    }
    if (off % PAGE_BYTES !== 0 || bytes % PAGE_BYTES !== 0) {
      this.#fail(line, `${bytes} bytes from ${off} on are no whole pages`, [`multiples of ${PAGE_BYTES}`]);
    }
  }

  #checkVcpu(vcpu: number, line: number): void {
    const { vcpus } = this.#vm!;
    if (vcpu >= vcpus) this.#fail(line, `there is no vCPU ${vcpu}`, [vcpus === 1 ? '0' : `0 to ${vcpus - 1}`]);
  }

  #checkGfns(gfn: number, pages: number, line: number): void {
    const { entries, levels } = this.#vm!;
    const end = entries ** levels;
    if (gfn + pages <= end) return;
    this.#fail(line, `gfn 0x${(gfn + pages - 1).toString(16)} lies beyond guest memory`, [`0 to 0x${(end - 1).toString(16)}`]);
  }

  #fail(line: number, message: string, allowed: readonly string[] = []): never {
    throw new ScriptError({ file: this.#file, line, message, allowed });
  }
}

/** Checks a whole script. Errors: ScriptError at the first mistake. */
export function checkScript(script: Script): void {
  const checker = new Checker(script.file);
  for (const { operations } of script.phases) for (const operation of operations) checker.check(operation);
}
