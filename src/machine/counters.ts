/**
 * Statistics, table-driven: a counter is a row of a table, from which its index, the reports and the documentation come.
 *
 * A counter is an index into `thread.counters`; each thread counts for itself (`thread.counters[Counter.x]++`) and
 * reports add the threads up, so counting touches nothing shared. The machine's rows begin at 0, the MMU's and the VM's
 * tables at bases of their own.
 */

/** Length of a thread's `counters`. */
export const COUNTER_SLOTS = 256;

export interface CounterDefinition {
  readonly name: string;
  /** What one count is, in the plural: "pages", "ns". */
  readonly unit: string;
  readonly help: string;
  /** The kernel's name, where kvm_stat has it. */
  readonly kvmStat?: string;
}

/** A row with its index. */
export interface CounterRow extends CounterDefinition {
  readonly index: number;
}

const rows = new Map<number, CounterRow>();

/**
 * Gives the counters of `table` the indices from `base` on, and returns the index of each by name.
 *
 * @example
 * const Counter = defineCounters(128, [{ name: 'exits', unit: 'exits', help: 'times a vCPU left the guest' }]);
 * thread.counters[Counter.exits]++;
 */
export function defineCounters<const Table extends readonly CounterDefinition[]>(
  base: number,
  table: Table,
): { readonly [Name in Table[number]['name']]: number } {
  for (const [i, definition] of table.entries()) {
    const index = base + i;
    const taken = rows.get(index);
    if (index >= COUNTER_SLOTS) throw new RangeError(`counter ${definition.name}: no slot ${index}`);
    if (table.findIndex(({ name }) => name === definition.name) !== i) {
      throw new RangeError(`counter ${definition.name} is in its table twice`);
    }
    if (taken && taken.name !== definition.name)
      throw new RangeError(`counters ${taken.name} and ${definition.name} share slot ${index}`);
    rows.set(index, { ...definition, index });
  }
  // Made in one go: an object that grows property by property becomes a hash table, and is one on every count.
  return Object.freeze(Object.fromEntries(table.map(({ name }, i) => [name, base + i]))) as {
    readonly [Name in Table[number]['name']]: number;
  };
}

/** All counters that were defined, by index. */
export function allCounters(): CounterRow[] {
  return [...rows.values()].sort((a, b) => a.index - b.index);
}

export const MACHINE_COUNTERS_BASE = 0;

export const MACHINE_COUNTERS = [
  { name: 'rcuGracePeriods', unit: 'grace periods', help: 'waits for all RCU readers' },
  { name: 'rcuPagesQueued', unit: 'pages', help: 'page-table pages handed to call_rcu' },
  { name: 'rcuPagesFreed', unit: 'pages', help: 'page-table pages freed after a grace period' },
  { name: 'srcuGracePeriods', unit: 'grace periods', help: 'waits for all readers of the memslots' },
  { name: 'pagesAllocated', unit: 'pages', help: 'page-table pages taken from the allocator' },
  { name: 'pagesReused', unit: 'pages', help: 'of them pages that had been in use before' },
  { name: 'pagesFreed', unit: 'pages', help: 'page-table pages given back to the allocator' },
  { name: 'allocationsFailed', unit: 'allocations', help: 'allocations that found no page, or were made to fail' },
  { name: 'cacheTopups', unit: 'batches', help: 'times a page cache was filled up' },
  { name: 'flushRequests', unit: 'flushes', help: 'remote TLB flushes asked for', kvmStat: 'remote_tlb_flush_requests' },
  { name: 'flushesKicked', unit: 'flushes', help: 'of them with at least one vCPU in the guest', kvmStat: 'remote_tlb_flush' },
  { name: 'flushAcks', unit: 'vCPUs', help: 'vCPUs whose leaving the guest a flush waited for' },
  { name: 'kicks', unit: 'IPIs', help: 'vCPUs made to leave the guest' },
  { name: 'entriesBackedOut', unit: 'entries', help: 'guest entries given up because a request was pending' },
  { name: 'workQueued', unit: 'items', help: 'work items queued' },
  { name: 'workDone', unit: 'items', help: 'work items finished' },
] as const satisfies readonly CounterDefinition[];

export const Counter = defineCounters(MACHINE_COUNTERS_BASE, MACHINE_COUNTERS);
