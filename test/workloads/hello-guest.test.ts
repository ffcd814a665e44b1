import { describe, expect, it } from 'vitest';
import { IterMode } from '../../src/mmu/params.ts';
import { zapHelloGuest } from '../../src/workloads/hello-guest.ts';

const rows = (mode: IterMode) => zapHelloGuest(mode).map(({ asId, level, steps, zapped }) => [asId, level, steps, zapped]);
const total = (mode: IterMode) => zapHelloGuest(mode).reduce((sum, walk) => sum + walk.steps, 0);

describe('zapping the roots of a guest that says hello', () => {
  it('takes the steps of the log of the thread: 9216, one an entry of 18 tables', () => {
    expect(rows(IterMode.plain)).toEqual([
      [0, 1, 3584, 2],
      [0, 2, 2048, 3],
      [0, 3, 1024, 2],
      [0, 4, 512, 1],
      [1, 1, 512, 0],
      [1, 2, 512, 0],
      [1, 3, 512, 0],
      [1, 4, 512, 0],
    ]);
    expect(total(IterMode.plain)).toBe(9216);
  });

  it('takes 303 where the body skips up to 32 empty entries, level by level as logged', () => {
    expect(rows(IterMode.skip32)).toEqual([
      [0, 1, 118, 2],
      [0, 2, 69, 3],
      [0, 3, 35, 2],
      [0, 4, 17, 1],
      [1, 1, 16, 0],
      [1, 2, 16, 0],
      [1, 3, 16, 0],
      [1, 4, 16, 0],
    ]);
    expect(total(IterMode.skip32)).toBe(303);
  });

  it('zaps the same where walks visit present entries only, in one step for each and for each table entered', () => {
    const walks = rows(IterMode.onlyPresent);
    expect(walks.map((row) => row[3])).toEqual([2, 3, 2, 1, 0, 0, 0, 0]);
    expect(total(IterMode.onlyPresent)).toBeLessThan(40);
  });
});
