/** The parts that an engine is made of, shared by the files that move them. */
import type { CpuQueues } from './cpu-queues.ts';
import type { EventQueue } from './event-queue.ts';
import type { LabelMap } from './labels.ts';
import type { LineDirectory } from './line-directory.ts';
import type { PriceList } from './price-list.ts';
import type { RescheduleClock } from './reschedule-clock.ts';
import type { TaskTable } from './task-table.ts';
import type { VirtualMemory } from './virtual-memory.ts';

export interface Works {
  readonly tasks: TaskTable;
  readonly queue: EventQueue;
  readonly cpus: CpuQueues;
  readonly memory: VirtualMemory;
  readonly directory: LineDirectory;
  readonly clock: RescheduleClock;
  readonly labels: LabelMap;
  readonly prices: PriceList;
  /** Rows of picoseconds by cause, one a task: see `causes.ts`. */
  readonly accounts: Float64Array;
  /** Columns of a row. */
  readonly stride: number;
  /** The column of each lock's waiters, by lock number. */
  readonly lockColumns: readonly number[];
  /** Tasks may lose their CPU before any step, not only where the kernel lets them. */
  readonly preemptAnywhere: boolean;
}
