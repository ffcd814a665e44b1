import { describe, expect, it } from 'vitest';
import { CONTROL_HEAD_WORDS, ControlWord } from '../../src/engines/plan.ts';
import { PlainMemory } from '../../src/machine/plain-memory.ts';
import { type Address, own, type Task } from '../../src/machine/point.ts';
import { runTogether, seededPick } from '../../src/machine/run.ts';
import { CONTROL_WORDS, Control } from '../../src/workloads/programs/control.ts';

const BASE = 16 as Address;

function control(): Control {
  const words = new Int32Array(new SharedArrayBuffer(4 * (BASE + CONTROL_HEAD_WORDS + CONTROL_WORDS + 16)));
  return new Control(new PlainMemory(words), BASE);
}

describe.each([1, 2, 3, 4, 5])('the control block, seed %i', (seed) => {
  it('keeps rounds apart', () => {
    const block = control();
    const events: string[] = [];
    function* vcpu(id: number): Task<void> {
      for (let round = 0; (round = yield* block.nextRound(round)) !== 0; ) {
        events.push(`vcpu ${id} in ${round}`);
        yield* block.endRound();
      }
    }
    function* host(): Task<void> {
      for (let i = 1; i <= 3; i++) {
        expect(yield* block.beginRound()).toBe(i);
        expect(yield* block.awaitRounds(3 * i)).toBe(true);
        events.push(`round ${i}`);
      }
      yield* block.stop();
    }
    runTogether<void>(block.memory, [vcpu(0), vcpu(1), vcpu(2), host()], seededPick(seed));
    for (let i = 1; i <= 3; i++) {
      const part = events.slice(4 * (i - 1), 4 * i);
      expect(part.slice(0, 3).sort()).toEqual([`vcpu 0 in ${i}`, `vcpu 1 in ${i}`, `vcpu 2 in ${i}`]);
      expect(part[3]).toBe(`round ${i}`);
    }
  });

  it('gives turns in order', () => {
    const block = control();
    const turns: number[] = [];
    function* thread(id: number): Task<void> {
      for (let turn = id; turn < 12; turn += 3) {
        yield* block.awaitTurn(turn);
        turns.push(turn);
        yield* block.passTurn(turn + 1);
      }
    }
    runTogether<void>(block.memory, [thread(0), thread(1), thread(2)], seededPick(seed));
    expect(turns).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('waits at a checkpoint for the examiner, and only if there is one', () => {
    const alone = control();
    runTogether<void>(alone.memory, [alone.checkpoint()], seededPick(seed));

    const block = control();
    const events: string[] = [];
    function* workload(): Task<void> {
      for (let i = 0; i < 2; i++) {
        yield* block.checkpoint();
        events.push('on');
      }
    }
    function* examiner(): Task<void> {
      for (let seen = 0; seen < 2; ) {
        const checkpoint = yield* block.checkpointWaiting();
        if (checkpoint === 0) continue;
        seen = checkpoint;
        events.push(`looked at ${checkpoint}`);
        yield* block.examined(checkpoint);
      }
    }
    runTogether<void>(block.memory, [block.expectExaminer()], seededPick(seed));
    runTogether<void>(block.memory, [workload(), examiner()], seededPick(seed));
    expect(events.filter((event) => event !== 'on')).toEqual(['looked at 1', 'looked at 2']);
    expect(events.indexOf('on')).toBeGreaterThan(events.indexOf('looked at 1'));
  });
});

describe('a stopped run', () => {
  it('lets every wait go on, and says so', () => {
    const block = control();
    block.memory.store32(own(block.word(ControlWord.stop)), 1);
    const answers: unknown[] = [];
    function* waiter(): Task<void> {
      answers.push(yield* block.nextRound(0), yield* block.awaitRounds(1), yield* block.awaitTurn(1), yield* block.stopped());
    }
    runTogether<void>(block.memory, [waiter()]);
    expect(answers).toEqual([0, false, false, true]);
  });
});
