/**
 * Turning what went wrong in a thread into data.
 */
import { InvariantError } from '../../machine/invariant.ts';
import { LOCK_NUMBERS, lockName } from '../../machine/lock-number.ts';
import { hex64, type Word64 } from '../../machine/word64.ts';
import { readSpteChanges, type SpteChange } from '../measure/spte-changes.ts';
import type { StatRegion } from '../measure/stat-region.ts';
import type { ThreadFailure } from './protocol.ts';

/** SPTE changes that a failure shows. */
const EVENTS = 16;

export interface FailureContext {
  readonly thread: string;
  readonly threadId: number;
  readonly region: StatRegion;
  /** The `held` word of the thread's block. */
  readonly heldMask: number;
}

export function describeFailure(error: unknown, context: FailureContext): ThreadFailure {
  const { name, message, stack, rule } = asError(error);
  return {
    thread: context.thread,
    rule: name === InvariantError.name && typeof rule === 'string' ? rule : 'exception',
    message,
    stack: stack ?? '',
    lastEvents: lastEvents(context.region, context.threadId),
    held: heldLocks(context.heldMask),
  };
}

/** A thread that ended without a word, by process.exit() or because the pool lost it. */
export function describeExit(message: string, context: FailureContext): ThreadFailure {
  return { ...describeFailure(new Error(message), context), rule: 'exit', stack: '' };
}

function asError(thrown: unknown): Error & { rule?: unknown } {
  return thrown instanceof Error ? thrown : new Error(`thrown: ${String(thrown)}`);
}

/** `mmu_lock for write`, by a thread's `held` word. */
export function heldLocks(mask: number): string[] {
  const names: string[] = [];
  for (let lock = 0; lock < LOCK_NUMBERS; lock++) {
    const held = (mask >>> (2 * lock)) & 3;
    if (held !== 0) names.push(`${lockName(lock)} for ${held === 1 ? 'read' : 'write'}`);
  }
  return names;
}

export function lastEvents(region: StatRegion, threadId: number): string[] {
  return readSpteChanges(region, threadId).slice(-EVENTS).map(changeText);
}

/** `0x1a2b level 1: 0x0 -> 0x4000807` */
export function changeText(change: SpteChange): string {
  const where = `gfn 0x${change.gfn.toString(16)}${change.level > 0 ? ` level ${change.level}` : ''}`;
  if (change.kind === 'frozen' || change.kind === 'thawed') return `${where}: ${change.kind}`;
  const fast = change.kind === 'fast' ? ' (fast page fault)' : '';
  return `${where}: ${hex64(change.old as Word64)} -> ${hex64(change.next as Word64)}${fast}`;
}
