/**
 * The workload `trace`: a recorded run of a real kernel, its faults and ioctls replayed by as many vCPUs.
 */
import { MMU_COUNTERS } from '../mmu/counters.ts';
import type { MemoryRegionConfig } from '../vm/vm-config.ts';
import { crew, TRACKED_PAGES_MAX, tablePagesFor } from './memstress-plan.ts';
import { flagOf, type OptionTable, textOf } from './option.ts';
import { CONTROL_WORDS } from './programs/control.ts';
import { BACKING_NAMES, BACKINGS, type BackingName } from './programs/memstress-layout.ts';
import { scriptWords, writeScript } from './programs/trace-script.ts';
import { type Recording, readRecording } from './recording.ts';
import { seconds, sumOf } from './selftest-time.ts';
import { planReplay, type TraceReplayPlan } from './trace-plan.ts';
import { UsageError } from './usage-error.ts';
import type { Workload, WorkloadPlan, WorkloadResult } from './workload.ts';

/** vCPUs and one ioctl thread, as real threads. */
const VCPUS_MAX = 256;

const OPTIONS: OptionTable = [
  {
    key: 'order',
    long: 'order',
    kind: 'choice',
    default: 'global',
    choices: ['global', 'strict', 'vcpu'],
    help: 'global: events begin in recorded order; strict: one at a time; vcpu: each vCPU keeps its own order',
  },
  { key: 'pace', long: 'pace', kind: 'flag', help: 'at recorded pace, instead of as fast as possible' },
  {
    key: 'backing',
    letter: 's',
    long: 'backing',
    kind: 'choice',
    default: 'auto',
    choices: ['auto', ...BACKING_NAMES],
    help: 'kind of memory behind the guest (auto: huge where the recording shows huge pages)',
  },
];

function notesOf(file: string, recording: Recording, replay: TraceReplayPlan): string[] {
  const { lines, vcpus, faults, notUnderstood, firstNotUnderstood } = recording;
  const lastUs = replay.events.at(-1)?.us ?? 0;
  const leftOut = sumOf(Object.values(recording.leftOut));
  return [
    `${file}: ${lines} lines, ${vcpus} vCPUs, ${seconds(lastUs * 1000)}s`,
    `replayed: ${faults} faults, ${replay.ioctls} ioctls, ${replay.invalidations} invalidations of guest memory`,
    `events of other kinds: ${leftOut}; lines not understood: ${notUnderstood}${notUnderstood > 0 ? ` (the first: ${firstNotUnderstood.trim().slice(0, 80)})` : ''}`,
    ...(replay.guessed > 0
      ? [
          `the recording begins with a running VM: ${replay.guessed} slots were inferred, ${replay.premapped} pages mapped beforehand`,
        ]
      : []),
    `host memory: ${replay.memory.map(({ name, type, pages }) => `${pages} pages ${type} at ${name}`).join(', ')}`,
  ];
}

export const trace: Workload = {
  name: 'trace',
  summary: 'the faults and ioctls of a recorded ftrace text are replayed, in recorded order',
  operand: 'FILE',
  options: OPTIONS,
  async plan(options, common, file) {
    if (file === undefined) throw new UsageError('trace: give the file of a recorded trace: tdpsim stress trace FILE');
    const recording = await readRecording(file);
    if (recording.faults === 0) {
      throw new UsageError(`${file}: no kvm_page_fault event in ${recording.lines} lines: is this ftrace text of KVM?`);
    }
    if (recording.vcpus > VCPUS_MAX) {
      throw new UsageError(`${file}: ${recording.vcpus} vCPUs: at most ${VCPUS_MAX} can be replayed on real threads`);
    }
    const backing = textOf(options, 'backing');
    const type: MemoryRegionConfig['type'] | null = backing === 'auto' ? null : BACKINGS[backing as BackingName].type;
    const replay = planReplay(recording, type, textOf(options, 'order') === 'strict');
    const { events, operands, memory } = replay;
    const pages = sumOf(memory.map((region) => region.pages));
    const gfns = new Set(recording.events.flatMap((event) => (event.what === 'fault' ? [Math.floor(event.gfn / 512)] : [])));
    const trackContents = pages <= TRACKED_PAGES_MAX;
    const plan: WorkloadPlan = {
      workload: 'trace',
      options: {
        ...options,
        file,
        vcpus: recording.vcpus,
        faults: recording.faults,
        mmioFaults: recording.mmioFaults,
        trackContents,
      },
      seed: common.seed,
      vm: {
        ...common.vm,
        vcpus: recording.vcpus,
        tablePages: tablePagesFor(Math.min(pages, gfns.size * 512), recording.vcpus, 6) + 8 * gfns.size,
        memory,
        maxMemslots: replay.slots,
        trackContents,
      },
      params: { ...replay.params, ...common.params },
      threads: crew(recording.vcpus, { vcpu: 'trace-vcpu', ioctl: 'trace-ioctl' }),
      controlWords: CONTROL_WORDS + scriptWords(events.length, operands.length) + (trackContents ? pages : 0),
    };
    return {
      plan,
      prepare: (control) => writeScript(control, events, operands),
      ...(trackContents ? { sentAt: scriptWords(events.length, operands.length) } : {}),
      recorded: recording.mmuEvents,
      notes: notesOf(file, recording, replay),
    };
  },
  lines: traceLines,
};

/** Counters of faults that ended in RET_PF_RETRY. */
const RETRIES = MMU_COUNTERS.map(({ name }) => name).filter((name) => name.startsWith('retry_'));

function traceLines({ plan, phases, counter }: WorkloadResult): string[] {
  const [ns] = phases.replay ?? [];
  const mmio = plan.options.mmioFaults as number;
  const recorded = (plan.options.faults as number) - mmio;
  const retried = RETRIES.reduce((sum, name) => sum + counter(name), 0);
  const lines = [
    `Faults: ${recorded} recorded, ${counter('pf_taken')} taken in the replay, ${retried} of them to be tried again`,
    ...(mmio > 0 ? [`Accesses to known MMIO pages: ${mmio} recorded`] : []),
  ];
  for (const [name, times] of Object.entries(phases)) {
    if (name === 'replay') continue;
    if (name === 'ioctl refused') lines.push(`Ioctls refused: ${times.length}`);
    else lines.push(`${name}: ${times.length} times, ${seconds(sumOf(times))}s`);
  }
  if (ns !== undefined) {
    const pace = flagOf(plan.options, 'pace') ? 'at recorded pace' : 'as fast as possible';
    lines.push(`Replay time: ${seconds(ns)}s (${pace}, order ${textOf(plan.options, 'order')})`);
  }
  return lines;
}
