/**
 * A worker of the threads engine: opens its handle on the VM, waits at the gate for the others, and runs its program.
 *
 * Its bundle has the coroutines erased, so a program is a plain call here. Nothing is thrown across: failures are data.
 */
import type { Memory } from '../../machine/memory.ts';
import { SharedMemory } from '../../machine/shared-memory.ts';
import { ThreadWord } from '../../machine/thread.ts';
import { WasmMemory } from '../../machine/wasm-memory.ts';
import type { VcpuMmu } from '../../mmu/vcpu-mmu.ts';
import { openVm } from '../../vm/vm.ts';
import { createRecorder, SAMPLED } from '../measure/recorder.ts';
import { StatRegion } from '../measure/stat-region.ts';
import { type EngineContext, layoutPlan, type RunThread, threadSeed } from '../plan.ts';
import { nowNs } from './clock.ts';
import { describeFailure } from './failure.ts';
import { GateWord, type VcpuHoldings, type WorkerMessage, type WorkerReport, type WorkerTask } from './protocol.ts';
import { giveWay, TimeSlice } from './time-slice.ts';

/** The points of the bundle's flavour: the module that takes the place of `point.ts` there. */
export interface ThreadPoints {
  bindArena(arena: Int32Array<SharedArrayBuffer>): void;
  bindPerturbation(seed: number, probability: number): void;
}

/** Longest sleep at the gate: a coordinator that gave up terminates its workers, so this is for the wake-up's sake only. */
const GATE_MS = 100;

/**
 * The handler of a worker's tasks.
 *
 * @param run runs a thread's program; erased, it returns when the program has ended
 */
export function workerMain(points: ThreadPoints, run: RunThread): (task: WorkerTask) => WorkerReport {
  return (task) => {
    const { threadId, port } = task;
    const arena = new Int32Array(task.arena);
    points.bindArena(arena);
    const layout = layoutPlan(task.plan, task.controlWords);
    const region = new StatRegion(task.plan.threads.length + 1, task.measured, task.statistics);
    const heldWord = layout.vm.kvm.threadBlock(threadId) + ThreadWord.held;
    const tell = (message: WorkerMessage) => port.postMessage(message);
    let began = nowNs();
    let mmu: VcpuMmu | null = null;
    const gate = new Int32Array(task.gate);
    try {
      const context = openThread(task, points, arena, {
        phase: (name, ns) => tell({ kind: 'phase', name, ns }),
        nextNumber: () => Atomics.add(gate, GateWord.number, 1),
        report: (report) => tell({ kind: 'report', report }),
        tally: (name, n) => tell({ kind: 'tally', name, n }),
        runsVcpu: (own) => {
          mmu = own;
        },
      });
      tell({ kind: 'ready' });
      while (Atomics.load(gate, GateWord.open) === 0) Atomics.wait(gate, GateWord.open, 0, GATE_MS);
      began = nowNs();
      run(context);
      return { threadId, elapsedNs: nowNs() - began, failure: null, vcpu: holdingsOf(mmu) };
    } catch (error) {
      const thread = task.plan.threads[threadId].name;
      const failure = describeFailure(error, { thread, threadId, region, heldMask: arena[heldWord] });
      // At once: the pool hands a result over only after the worker's own clean-up.
      tell({ kind: 'failure', failure });
      return { threadId, elapsedNs: nowNs() - began, failure, vcpu: null };
    }
  };
}

function holdingsOf(mmu: VcpuMmu | null): VcpuHoldings | null {
  if (mmu === null) return null;
  const roots = [mmu.root, ...mmu.prevRoots].filter((root) => root !== 0);
  return { id: mmu.vcpu, roots, cachedPages: [...mmu.pageCache.pages] };
}

function openThread(
  task: WorkerTask,
  points: ThreadPoints,
  arena: Int32Array<SharedArrayBuffer>,
  calls: Pick<EngineContext, 'phase' | 'tally' | 'runsVcpu' | 'nextNumber' | 'report'>,
): EngineContext {
  const { plan, threadId } = task;
  const thread = plan.threads[threadId];
  const layout = layoutPlan(plan, task.controlWords);
  const seed = threadSeed(plan.seed, thread);
  points.bindPerturbation(seed, task.perturb);
  const region = new StatRegion(plan.threads.length + 1, task.measured, task.statistics);
  const { counters, probe, trace } = createRecorder({ region, thread: threadId, now: nowNs, seed, sampling: SAMPLED });
  const memory: Memory = task.wasm ? new WasmMemory(task.wasm) : new SharedMemory(arena);
  const slice = new TimeSlice(nowNs);
  const environment = { memory, now: nowNs, needResched: () => slice.isOver(), giveWay, counters, probe };
  const vm = openVm({ layout: layout.vm, threadId, threadName: thread.name, environment, trace, bugs: task.bugs });
  return { plan, thread, vm, control: layout.control, seed, ...calls };
}
