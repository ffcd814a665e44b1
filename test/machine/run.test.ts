import { describe, expect, it } from 'vitest';
import { type Address, own, read, relax, type Task, wait, wake, write } from '../../src/machine/point.ts';
import { roundRobin, seededPick } from '../../src/machine/run.ts';
import { ruleBrokenBy, TestMachine } from './machine.ts';

function setup(): { machine: TestMachine; word: Address } {
  const machine = new TestMachine();
  return { machine, word: machine.reserve(2) };
}

describe('a task that runs alone', () => {
  it('gets each grant and returns its result', () => {
    const { machine, word } = setup();
    function* add(n: number): Task<number> {
      const value = machine.memory.load32(yield read(word));
      machine.memory.store32(yield write(word), value + n);
      yield wait(word, -1);
      return value + n;
    }
    expect([machine.run(add(2)), machine.run(add(3)), machine.at(word)]).toEqual([2, 5, 5]);
  });

  it('may not wait for others', () => {
    const { machine, word } = setup();
    function* sleeps(): Task<void> {
      yield wait(word, 0);
    }
    function* spins(): Task<void> {
      while (machine.memory.load32(yield read(word)) === 0) yield relax(word);
    }
    expect(ruleBrokenBy(() => machine.run(sleeps()))).toBe('deadlock');
    expect(ruleBrokenBy(() => machine.run(spins()))).toBe('deadlock');
  });
});

describe('tasks that run together', () => {
  it('show a forgotten wake, unless told that a change is enough', () => {
    const { machine, word } = setup();
    function* sleeper(): Task<void> {
      while (machine.memory.load32(yield read(word)) === 0) yield wait(word, 0);
    }
    function* writer(wakes: boolean): Task<void> {
      for (let i = 0; i < 5; i++) machine.memory.load32(yield read(word));
      machine.memory.store32(yield write(word), 1);
      if (wakes) yield wake(word, 1);
    }
    const outcome = (wakes: boolean, strictWakes: boolean): string => {
      machine.memory.store32(own(word), 0);
      return ruleBrokenBy(() => machine.together([sleeper(), writer(wakes)], roundRobin(), { strictWakes }));
    };
    expect([outcome(true, true), outcome(false, true), outcome(false, false)]).toEqual(['none', 'deadlock', 'none']);
  });

  it('wake as many sleepers as they are told', () => {
    const { machine, word } = setup();
    let awake = 0;
    function* sleeper(): Task<void> {
      yield wait(word, 0);
      awake++;
    }
    function* waker(): Task<void> {
      yield wake(word, 2);
    }
    const schedule = (runnable: readonly number[]): number => runnable.length - 1;
    expect(ruleBrokenBy(() => machine.together([waker(), sleeper(), sleeper(), sleeper()], schedule))).toBe('deadlock');
    expect(awake).toBe(2);
  });

  it('stop at the step bound', () => {
    const { machine, word } = setup();
    function* forever(): Task<void> {
      for (;;) machine.memory.load32(yield read(word));
    }
    expect(ruleBrokenBy(() => machine.together([forever()], 0, { maxSteps: 50 }))).toBe('no-progress');
  });

  it('take the same schedule for the same seed, and others for others', () => {
    const runnable = [0, 1, 2, 3];
    const picks = (seed: number): string => {
      const pick = seededPick(seed);
      return Array.from({ length: 40 }, () => pick(runnable)).join('');
    };
    expect(picks(7)).toBe(picks(7));
    expect(new Set(Array.from({ length: 50 }, (_, seed) => picks(seed))).size).toBe(50);
    const turns = roundRobin();
    expect([turns([0, 1, 2]), turns([0, 2]), turns([0, 2]), turns([1, 2])]).toEqual([0, 1, 0, 0]);
  });
});
