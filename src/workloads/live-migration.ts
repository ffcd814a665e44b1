/**
 * The workload `live-migration`: pre-copy rounds over a link, with vCPUs that go on dirtying memory.
 */
import { own } from '../machine/point.ts';
import { backingOption, bytesOption, crew, memstressNotes, memstressPlan, vcpusOption } from './memstress-plan.ts';
import { type NumberOption, numberOf, type OptionTable, type SizeOption, textOf } from './option.ts';
import { GUEST_PHASES, MigrationWord, migrationBase } from './programs/live-migration.ts';
import { readRecording } from './recording.ts';
import { seconds, sumOf } from './selftest-time.ts';
import { formatSize } from './size.ts';
import { UsageError } from './usage-error.ts';
import type { Workload, WorkloadOptions } from './workload.ts';

const MIB = 2 ** 20;

const size = (key: string, long: string, standard: number, help: string): SizeOption => ({
  key,
  long,
  kind: 'size',
  default: standard,
  unit: 1,
  help,
});
const whole = (key: string, long: string, range: readonly [number, number, number], help: string): NumberOption => ({
  key,
  long,
  kind: 'number',
  default: range[1],
  min: range[0],
  max: range[2],
  help,
});

const OPTIONS: OptionTable = [
  vcpusOption(4),
  bytesOption(16 * MIB),
  { ...backingOption, default: 'anonymous_thp' } as (typeof OPTIONS)[number],
  size('bandwidth', 'bandwidth', 1024 * MIB, 'bytes a second that the link carries'),
  size('dirtyRate', 'dirty-rate', 64 * MIB, 'bytes of pages a second that each vCPU writes'),
  whole('downtime', 'downtime', [1, 10, 60_000], 'milliseconds for which the guest may be stopped'),
  whole('rounds', 'rounds', [1, 30, 1000], 'number of rounds after which the guest is stopped whatever is left'),
  whole('settle', 'settle', [1, 20, 10_000], 'milliseconds for which the guest runs before and after the migration'),
  {
    key: 'pattern',
    long: 'pattern',
    kind: 'choice',
    default: 'hot',
    choices: ['uniform', 'hot', 'sequential', 'trace'],
    help: 'which pages the vCPUs write',
  },
  whole('hotPercent', 'hot-percent', [1, 10, 100], 'percentage of the pages that are the hot set'),
];

export const liveMigration: Workload = {
  name: 'live-migration',
  summary: 'pre-copy rounds over a link while vCPUs dirty memory, then the guest runs on without logging',
  operand: 'FILE',
  options: OPTIONS,
  async plan(options, common, file) {
    checkPattern(textOf(options, 'pattern'), file);
    checkLink(options);
    const trace = textOf(options, 'pattern') === 'trace' ? await writtenPages(file) : [];
    const plan = memstressPlan({
      workload: 'live-migration',
      options,
      common,
      threads: crew(numberOf(options, 'vcpus'), { vcpu: 'live-migration-vcpu', ioctl: 'live-migration-ioctl' }),
      params: { manualProtect: 3 },
      copies: 4,
    });
    const base = migrationBase(plan.options);
    return {
      plan: { ...plan, controlWords: plan.controlWords + MigrationWord.trace + trace.length },
      prepare: (control, memory) => {
        memory.store32(own(control.data(base + MigrationWord.tracePages)), trace.length);
        trace.forEach((page, i) => {
          memory.store32(own(control.data(base + MigrationWord.trace + i)), page);
        });
      },
      notes: memstressNotes(plan),
    };
  },
  lines({ plan, phases }) {
    const { round = [], downtime = [], enable = [], disable = [], 'sent bytes': sent = [] } = phases;
    const guest = (phase: string): number => {
      const times = phases[`guest write ${phase}`] ?? [];
      return times.length === 0 ? Number.NaN : sumOf(times) / times.length;
    };
    const before = guest('before');
    const speeds = GUEST_PHASES.flatMap((phase) => {
      const ns = guest(phase);
      const times = phase === 'before' ? '' : ` (${(ns / before).toFixed(2)} times as long as before)`;
      return Number.isNaN(ns) ? [] : [`A write of the guest, ${phase}: ${ns.toFixed(1)} ns${times}`];
    });
    return [
      ...enable.map((ns) => `Enabling dirty logging time: ${seconds(ns)}s`),
      ...round.map((ns, i) => `Round ${i + 1}: ${formatBytes(sent[i])} in ${seconds(ns)}s`),
      ...(downtime.length === 0 ? [] : [`Stop and copy: ${formatBytes(sent[round.length])}, downtime ${seconds(downtime[0])}s`]),
      ...(downtime.length === 0
        ? []
        : [
            downtime[0] <= numberOf(plan.options, 'downtime') * 1.1e6
              ? `Converged after ${roundsText(round.length)}`
              : `Did not converge in ${roundsText(round.length)}: the guest dirties faster than the link carries`,
          ]),
      ...(sent.length === 0 ? [] : [`Sent in all: ${formatBytes(sumOf(sent))}`]),
      ...disable.map((ns) => `Disabling dirty logging time: ${seconds(ns)}s`),
      ...speeds,
    ];
  },
};

/** Virtual seconds that the rounds may take: the clock counts to two and a half hours. */
const ROUNDS_S_MAX = 7200;

/** Errors: UsageError for a link on which the rounds would not end in time, however little the guest dirties. */
function checkLink(options: WorkloadOptions): void {
  const bytes = numberOf(options, 'vcpus') * numberOf(options, 'bytesPerVcpu');
  const roundS = bytes / numberOf(options, 'bandwidth');
  const rounds = numberOf(options, 'rounds');
  if (rounds * roundS <= ROUNDS_S_MAX) return;
  throw new UsageError(
    `--bandwidth ${formatSize(numberOf(options, 'bandwidth'))}: a round of ${formatSize(bytes)} takes ${Math.ceil(roundS)} s, and there may be ${rounds}; all of them may take ${ROUNDS_S_MAX} s (--rounds)`,
  );
}

/** Errors: UsageError for a file that no pattern would read. */
function checkPattern(pattern: string, file: string | undefined): void {
  if (file !== undefined && pattern !== 'trace') throw new UsageError(`${file}: only --pattern trace reads a file`);
}

const roundsText = (n: number): string => (n === 1 ? '1 round' : `${n} rounds`);

const formatBytes = (bytes = 0): string => (bytes >= MIB ? `${(bytes / MIB).toFixed(1)} MiB` : formatSize(bytes));

/** Pages that a recorded guest wrote, in recorded order. Errors: UsageError. */
async function writtenPages(file: string | undefined): Promise<number[]> {
  if (file === undefined) throw new UsageError('--pattern trace: give the file of a recorded trace');
  const { events } = await readRecording(file);
  const pages = events.flatMap((event) => (event.what === 'fault' && event.access === 'write' ? [event.gfn] : []));
  if (pages.length === 0) throw new UsageError(`${file}: no write fault is recorded there`);
  return pages;
}
