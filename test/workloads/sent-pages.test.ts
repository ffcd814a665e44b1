import { expect, it } from 'vitest';
import { setUserMemoryRegion } from '../../src/vm/ioctl.ts';
import { Control } from '../../src/workloads/programs/control.ts';
import { findSlot, SentPages, sentVersion } from '../../src/workloads/programs/vmm.ts';
import { BASE, VmMachine } from '../vm/vm-machine.ts';

/** A migration that has sent each page at version 7. */
class AllSent extends SentPages {
  override get(): number {
    return 7;
  }
}

it('what was sent of memory in two address spaces is told for the slot in which the guests run only', () => {
  const machine = new VmMachine({ config: { memory: [{ name: 'ram', type: '4k', pages: 64, populate: true }] } });
  const { ioctl } = machine;
  machine.slot(1, BASE, 'ram');
  const region = ioctl.region('ram').index;
  expect(machine.run(setUserMemoryRegion(ioctl, { slot: 1, asId: 1, baseGfn: BASE, pages: 64, region }))).toBe(0);
  const sent = new AllSent(new Control(ioctl.memory, 0 as Control['base']), ioctl);
  const told = (asId: number) => sentVersion(ioctl, sent, machine.run(findSlot(ioctl, 1, asId))!, BASE + 3);
  expect(told(0)).toMatchObject({ version: 7 });
  expect(told(1)).toBeUndefined();
});
