/**
 * The programs of workloads by name, and what runs one on a thread of any engine.
 */
import type { EngineContext } from '../../engines/plan.ts';
import type { Task } from '../../machine/point.ts';
import { wakeWorkers } from '../../machine/workqueue.ts';
import { Random } from '../../vm/random.ts';
import { Vcpu } from '../../vm/vcpu.ts';
import { VcpuArea } from '../../vm/vcpu-layout.ts';
import { vcpuLeaveGuest } from '../../vm/vcpu-run.ts';
import type { Program } from '../workload.ts';
import { agingHost, agingIoctl, agingVcpu } from './aging.ts';
import { collapseIoctl, collapseVcpu } from './collapse.ts';
import { Control } from './control.ts';
import { demandPagingIoctl, demandPagingVcpu } from './demand-paging.ts';
import { dirtyLogIoctl, dirtyLogVcpu } from './dirty-log.ts';
import { migrationIoctl, migrationVcpu } from './live-migration.ts';
import { maxGuestMemoryIoctl, maxGuestMemoryVcpu } from './max-guest-memory.ts';
import { memslotModificationIoctl, stressVcpu } from './memslot-modification.ts';
import { notifierStormHost, notifierStormIoctl } from './notifier-storm.ts';
import { executeVcpu, recoverPeriodically } from './nx-recovery.ts';
import { scriptThread, scriptZapWorker } from './script-thread.ts';
import { traceIoctl, traceVcpu } from './trace-replay.ts';
import { zapRoots } from './zap-roots.ts';
import { zapWorker } from './zap-worker.ts';

export const PROGRAMS: Readonly<Record<string, Program>> = {
  'dirty-log-vcpu': dirtyLogVcpu,
  'dirty-log-ioctl': dirtyLogIoctl,
  'demand-paging-vcpu': demandPagingVcpu,
  'demand-paging-ioctl': demandPagingIoctl,
  'stress-vcpu': stressVcpu,
  'memslot-modification-ioctl': memslotModificationIoctl,
  'notifier-storm-ioctl': notifierStormIoctl,
  'notifier-storm-host': notifierStormHost,
  'live-migration-vcpu': migrationVcpu,
  'live-migration-ioctl': migrationIoctl,
  'zap-roots': zapRoots,
  'zap-worker': zapWorker,
  'collapse-vcpu': collapseVcpu,
  'collapse-ioctl': collapseIoctl,
  'aging-vcpu': agingVcpu,
  'aging-ioctl': agingIoctl,
  'aging-host': agingHost,
  'max-guest-memory-vcpu': maxGuestMemoryVcpu,
  'max-guest-memory-ioctl': maxGuestMemoryIoctl,
  'execute-vcpu': executeVcpu,
  'recover-periodically': recoverPeriodically,
  'trace-vcpu': traceVcpu,
  'trace-ioctl': traceIoctl,
};

/** Runs the program of a thread of a plan. Errors: RangeError for a program that there is not. */
export function* runProgram(context: EngineContext): Task<void> {
  const { vm, thread, plan } = context;
  // Scripts make their own vCPUs.
  if (thread.program === 'script') return yield* scriptThread(context);
  if (thread.program === 'script-zap-worker') return yield* scriptZapWorker(context);
  const program = PROGRAMS[thread.program];
  if (program === undefined) throw new RangeError(`there is no program ${thread.program}`);
  const isVcpu = thread.role === 'vcpu';
  const area = isVcpu ? new VcpuArea(vm.vcpuArea(thread.index), vm.config) : null;
  const vcpu = area && new Vcpu({ kvm: vm.kvm, id: thread.index, area, contentWord: vm.contentWord });
  if (vcpu) context.runsVcpu?.(vcpu.mmu);
  yield* program({
    vm,
    vcpu,
    control: new Control(vm.memory, context.control),
    random: new Random(context.seed),
    options: plan.options,
    index: thread.index,
    phase: (name, ns) => context.phase(name, ns),
    tally: (name, n) => context.tally(name, n),
  });
  // A signal that ends KVM_RUN takes the vCPU out of the guest: who flushes TLBs waits for all that are inside.
  if (vcpu?.inGuest) yield* vcpuLeaveGuest(vcpu);
  // The worker sleeps on its queue, and would not see that the run comes to an end.
  if (!thread.daemon && vm.config.zapWorker === true) yield* wakeWorkers(vm.kvm.zapQueue, vm.thread);
}
