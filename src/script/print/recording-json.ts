/**
 * A run as JSON, in the shape of the recordings of real kernels: what compares recordings with the simulator reads it, too.
 */
import { hex64 } from '../../machine/word64.ts';
import type { Kvm } from '../../mmu/kvm.ts';
import { hex, isSpteEvent, type PhaseEvent, type PhaseRecord } from '../record/event.ts';
import { changeKinds } from '../record/kinds.ts';
import type { SpteRun } from '../record/spte-run.ts';
import type { Script } from '../script.ts';
import { OPERATIONS, type Operation, type OperationDefinition } from '../vocabulary.ts';

/** Keys that recordings spell otherwise than scripts. */
const KEY_NAMES: Readonly<Record<string, string>> = { size: 'size_bytes', len: 'len_bytes', op: 'rw' };
const HEXADECIMAL = new Set(['gfn', 'size', 'off', 'len']);
const FAST = 'fast_page_fault (without mmu_lock; not reported as a change of an SPTE)';

type JsonObject = Readonly<Record<string, unknown>>;

export interface RecordedRun {
  readonly script: Script;
  /** Any handle on the VM. */
  readonly kvm: Kvm;
  readonly phases: readonly PhaseRecord[];
  /** Which engine took its steps. */
  readonly engine?: string;
  readonly verdict?: object;
}

export function recordingJson(run: RecordedRun): JsonObject {
  const { kvm, engine, verdict } = run;
  const kinds = changeKinds(kvm);
  return {
    schema: 'tdpsim-script',
    schemaVersion: 1,
    kernel: `tdpsim, a model of Linux ${kvm.generation.name}`,
    cpu: `${kvm.config.cpu}, ${kvm.config.rootLevel} levels of ${kvm.config.entries} entries`,
    scenario: run.script.file,
    engine,
    verdict,
    lost_events: null,
    phases: run.phases.map((phase) => phaseJson(phase, run.script.phases[phase.n].operations, (change) => kinds.kindOf(change))),
  };
}

function phaseJson(phase: PhaseRecord, operations: readonly Operation[], kindOf: (run: SpteRun) => string): JsonObject {
  const changes: JsonObject[] = [];
  const events = phase.events.map((event) => {
    if (!isSpteEvent(event)) return { e: event.e, ...event.fields, by: event.by };
    changes.push(changeJson(event.run, kindOf(event.run)));
    return { e: 'spte', i: changes.length - 1 };
  });
  return {
    n: phase.n,
    words: phase.words,
    ops: operations.map((operation, i) => ({ ...operationJson(operation, phase.results[i]), ...startOf(phase, i) })),
    changes,
    events,
    event_counts: countEvents(phase.events, kindOf),
    counters: phase.counters,
    state: {
      end:
        phase.end?.map(({ gfn, level, table, n, bits }) =>
          table ? { gfn: hex(gfn), level, table, bits } : { gfn: hex(gfn), level, n, bits },
        ) ?? null,
    },
  };
}

/** `at_event`: index of the event that came next when the operation began. */
function startOf({ calls }: PhaseRecord, operation: number): JsonObject {
  const call = calls.find(({ index, ends }) => index === operation && !ends);
  return call === undefined ? {} : { at_event: call.at };
}

function changeJson(run: SpteRun, kind: string): JsonObject {
  const { asId, gfn, level, old, next, by, n, stepOld, stepNew } = run;
  const change: Record<string, unknown> = { as_id: asId, gfn: hex(gfn), level, old: hex64(old), new: hex64(next), kind, by };
  if (n > 1) Object.assign(change, { n, pfn_step: [stepOld, stepNew] });
  if (run.fast) change.src = FAST;
  return change;
}

function operationJson(operation: Operation, result: string): JsonObject {
  const { op } = operation;
  const definition: OperationDefinition = OPERATIONS[op];
  const values = operation.values as Readonly<Record<string, number | string | undefined>>;
  const json: Record<string, unknown> = { op };
  const args = definition.args.flatMap(({ name }) => (values[name] === undefined ? [] : [`${values[name]}`]));
  if (op === 'shell') json.cmd = args.join(' ');
  else if (args.length > 0) json.args = args;
  for (const { name, default: usual } of definition.keys) {
    const value = values[name];
    if (value === undefined || value === usual) continue;
    // The offset of an access lies within its page; that of a range is one of bytes in memory.
    const key = name === 'off' ? 'off_bytes' : (KEY_NAMES[name] ?? name);
    json[key] = typeof value === 'number' && HEXADECIMAL.has(name) ? hex(value) : value;
  }
  if (result !== '') json.result = result;
  return json;
}

function countEvents(events: readonly PhaseEvent[], kindOf: (run: SpteRun) => string): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const event of events) {
    const name = isSpteEvent(event) ? `spte:${kindOf(event.run)}:L${event.run.level}` : event.e;
    counts[name] = (counts[name] ?? 0) + (isSpteEvent(event) ? event.run.n : 1);
  }
  return counts;
}
