import { describe, expect, it } from 'vitest';

import { type Address, own } from '../../src/machine/point.ts';
import { roundRobin } from '../../src/machine/run.ts';
import { FREE_FRAME } from '../../src/vm/frames.ts';
import { faultHostPage, NO_HOST_PAGE } from '../../src/vm/host-fault.ts';
import { HostMmWord } from '../../src/vm/host-mm.ts';
import { hostDontneed, hostMigratePages, hostTouch } from '../../src/vm/host-operations.ts';
import { isHuge, isWritable, isZeroPage } from '../../src/vm/host-pte.ts';
import { readHostPte } from '../../src/vm/host-space.ts';
import { hostMadvise, hostMprotect, hostMunmap, hostRemap } from '../../src/vm/host-vma.ts';
import type { Backing } from '../../src/vm/vm-config.ts';
import { VmCounter } from '../../src/vm/vm-counters.ts';
import { VmMachine } from './vm-machine.ts';

interface Setup {
  readonly pages?: number;
  readonly populate?: boolean;
  readonly userfaultfd?: boolean;
  readonly entries?: number;
}

function hostWith(type: Backing, { pages = 1024, entries = 512, ...rest }: Setup = {}) {
  const memory = [{ name: 'A', type, pages, ...rest }];
  const machine = new VmMachine({ config: { memory, entries, trackContents: true, tablePages: 16, maxGfn: 2 ** 12 } });
  const vm = machine.ioctl;
  const region = vm.region('A');
  const pte = (page: number): number => machine.run(readHostPte(vm.space, region, page));
  const state = (page: number): string => {
    const now = pte(page);
    const kind = isZeroPage(now) ? 'zero' : isWritable(now) ? 'writable' : (now & 2) !== 0 ? 'read-only' : 'none';
    return isHuge(now) ? `huge ${kind}` : kind;
  };
  return {
    machine,
    vm,
    region,
    state,
    frame: (page: number) => vm.space.pfn(region, page, pte(page)),
    fault: (page: number, write: boolean) => machine.run(faultHostPage(vm.kvm, vm.space, region, page, write)),
  };
}

describe('a host page fault', () => {
  it('maps the zero page for a read of anonymous memory, and a frame for a write', () => {
    const { fault, state, frame, machine } = hostWith('4k');
    fault(3, false);
    fault(4, true);
    expect([state(3), state(4), state(5)]).toEqual(['zero', 'writable', 'none']);
    expect([frame(3) === frame(4), machine.version(frame(3)), machine.version(frame(4))]).toEqual([false, 0, 0]);
  });

  it('replaces the zero page when it is written, as the notifier hears', () => {
    const { fault, state, machine, vm, region } = hostWith('4k');
    fault(3, false);
    const heard = machine.heard(faultHostPage(vm.kvm, vm.space, region, 3, true));
    expect(heard).toEqual(['unmap hva 3-4']);
    expect([state(3), state(2)]).toEqual(['writable', 'none']);
  });

  it('maps huge pages in a THP region, where the 2M are untouched and wholly inside', () => {
    const { fault, state, frame } = hostWith('thp', { pages: 1030 });
    fault(3, true);
    fault(600, false);
    fault(1025, true);
    expect([state(0), state(513), state(1025), state(1026)]).toEqual(['huge writable', 'huge zero', 'writable', 'none']);
    expect([frame(0) % 512, frame(511) - frame(0), frame(513) - frame(512)]).toEqual([0, 511, 1]);
  });

  it('splits the huge zero page before one 4K page of it is replaced', () => {
    const { fault, state, machine, vm, region } = hostWith('thp');
    fault(3, false);
    const heard = machine.heard(faultHostPage(vm.kvm, vm.space, region, 6, true));
    expect(heard).toEqual(['unmap hva 0-200', 'unmap hva 6-7']);
    expect([state(3), state(6)]).toEqual(['zero', 'writable']);
  });

  it('maps hugetlbfs pages read-only for a read, and makes them writable in place', () => {
    const { fault, state, frame, machine, vm, region } = hostWith('1g', { pages: 2 ** 18 });
    fault(5, false);
    const first = frame(7);
    expect(state(0)).toBe('huge read-only');
    expect(machine.heard(faultHostPage(vm.kvm, vm.space, region, 9, true))).toEqual([]);
    expect([state(0), frame(7)]).toEqual(['huge writable', first]);
  });

  it('follows the geometry: a huge page is as many pages as a table has entries', () => {
    const { fault, state } = hostWith('2m', { pages: 8, entries: 4 });
    fault(5, true);
    expect([state(3), state(4), state(7)]).toEqual(['none', 'huge writable', 'huge writable']);
    const giant = hostWith('1g', { pages: 32, entries: 4 });
    giant.fault(17, true);
    expect([giant.state(15), giant.state(16), giant.state(31)]).toEqual(['none', 'huge writable', 'huge writable']);
  });

  it('gets one 4K page at a time from a userfaultfd handler', () => {
    const { fault, state, vm } = hostWith('thp', { userfaultfd: true });
    fault(3, false);
    expect([state(3), state(4)]).toEqual(['writable', 'none']);
    fault(4, true);
    fault(4, true);
    const word = (index: number): number => vm.memory.load32(own((vm.space.mm + index) as Address));
    const { mmapLockReaders, users, residentPages } = HostMmWord;
    expect([word(mmapLockReaders), word(users), word(residentPages)]).toEqual([0, 0, 2]);
  });

  it('takes mmap_lock for read five times for a page from userfaultfd: four times in get_user_pages, once in the handler', () => {
    const { vm, region, machine } = hostWith('4k', { userfaultfd: true });
    const updates = (): number[] => {
      const seen: number[] = [];
      const onStep = (_task: number, _kind: number, a: Address): void => void seen.push(a - vm.space.mm);
      machine.together([faultHostPage(vm.kvm, vm.space, region, 7, true)], roundRobin(), { onStep });
      const { mmapLockReaders, users, residentPages } = HostMmWord;
      return [mmapLockReaders, users, residentPages].map((word) => seen.filter((a) => a === word).length);
    };
    expect(updates()).toEqual([10, 2, 1]);
    expect(updates()).toEqual([0, 0, 0]);
  });

  it('finds populated memory mapped, without a table for it', () => {
    const { state, vm, fault } = hostWith('4k', { populate: true });
    fault(1000, true);
    expect([state(0), state(1023)]).toEqual(['writable', 'writable']);
    expect(vm.space.heap.usedWords()).toBe(0);
    expect(hostWith('thp', { populate: true, pages: 600 }).state(511)).toBe('huge writable');
    expect(hostWith('thp', { populate: true, pages: 600 }).state(512)).toBe('writable');
  });

  it('fails outside the region, after munmap, and for a write to what mprotect made read-only', () => {
    const { fault, machine, vm, region, state } = hostWith('4k');
    machine.run(hostMprotect(vm, region, { first: 4, pages: 4 }, 'read'));
    machine.run(hostMunmap(vm, region, { first: 16, pages: 2 }));
    expect([fault(1024, false), fault(17, false), fault(5, true)]).toEqual([NO_HOST_PAGE, NO_HOST_PAGE, NO_HOST_PAGE]);
    expect(fault(5, false)).not.toBe(NO_HOST_PAGE);
    machine.run(hostMprotect(vm, region, { first: 4, pages: 4 }, 'read-write'));
    machine.run(hostRemap(vm, region, { first: 16, pages: 2 }));
    expect([fault(5, true), fault(17, true)]).not.toContain(NO_HOST_PAGE);
    expect([state(5), state(17)]).toEqual(['writable', 'writable']);
  });
});

describe('a dropped page', () => {
  it('comes back in another frame, and the old one is free', () => {
    const { fault, frame, machine, vm, region, state } = hostWith('4k');
    fault(3, true);
    const first = frame(3);
    machine.run(hostDontneed(vm, region, { first: 2, pages: 3 }));
    expect([state(3), machine.version(first)]).toEqual(['none', FREE_FRAME]);
    fault(3, true);
    expect(frame(3)).not.toBe(first);
    expect(machine.version(frame(3))).toBe(0);
  });

  it('takes a huge page with it, whole if it covers it, and split if not', () => {
    const { fault, frame, machine, vm, region, state } = hostWith('thp', { populate: true });
    const [before, second] = [frame(6), frame(600)];
    machine.run(hostDontneed(vm, region, { first: 7, pages: 1 }));
    expect([state(6), state(7), frame(6)]).toEqual(['writable', 'none', before]);
    machine.run(hostDontneed(vm, region, { first: 512, pages: 512 }));
    expect([state(600), machine.version(second)]).toEqual(['none', FREE_FRAME]);
    fault(600, true);
    expect(state(512)).toBe('huge writable');
  });

  it('leaves frames to reuse after all generations were used', () => {
    const { fault, frame, machine, vm, region } = hostWith('4k', { pages: 4 });
    const frames = Array.from({ length: 5 }, () => {
      fault(1, true);
      const now = frame(1);
      machine.run(hostDontneed(vm, region, { first: 1, pages: 1 }));
      return now;
    });
    expect(new Set(frames).size).toBe(4);
    expect(frames[4]).toBe(frames[0]);
  });
});

describe('collapsing and migrating', () => {
  it('moves pages with their contents into one huge page, and keeps the table for a split', () => {
    const { fault, frame, machine, vm, region, state } = hostWith('thp', { populate: true });
    machine.run(hostDontneed(vm, region, { first: 7, pages: 1 }));
    fault(7, true);
    machine.memory.words[vm.contentWord!(frame(7))] = 33;
    machine.memory.words[vm.contentWord!(frame(8))] = 44;
    const used = vm.space.heap.usedWords();
    machine.run(hostMadvise(vm, region, { first: 0, pages: 512 }, 'collapse'));
    expect([state(0), machine.version(frame(7)), machine.version(frame(8))]).toEqual(['huge writable', 33, 44]);
    machine.run(hostDontneed(vm, region, { first: 9, pages: 1 }));
    expect([state(8), state(9), machine.version(frame(7))]).toEqual(['writable', 'none', 33]);
    expect(vm.space.heap.usedWords()).toBe(used);
  });

  it('does not collapse a range of several VMAs, nor one that was never touched', () => {
    const { machine, vm, region, state } = hostWith('thp');
    const heard = machine.heard(hostMadvise(vm, region, { first: 512, pages: 512 }, 'collapse'));
    machine.run(hostTouch(vm, region, { first: 0, pages: 1 }, 'write'));
    machine.run(hostMprotect(vm, region, { first: 0, pages: 8 }, 'read'));
    machine.run(hostMadvise(vm, region, { first: 0, pages: 512 }, 'collapse'));
    expect([heard, state(100)]).toEqual([[], 'writable']);
  });

  it('moves a page to another frame with what it holds', () => {
    const { frame, machine, vm, region, state, fault } = hostWith('thp', { pages: 1030 });
    fault(0, true);
    fault(1024, true);
    const [small, huge] = [frame(1024), frame(5)];
    machine.memory.words[vm.contentWord!(small)] = 5;
    machine.memory.words[vm.contentWord!(huge)] = 6;
    machine.run(hostMigratePages(vm, region, { first: 5, pages: 1025 }));
    expect([frame(1024) === small, frame(5) === huge, state(5)]).toEqual([false, false, 'huge writable']);
    expect([machine.version(frame(1024)), machine.version(frame(5))]).toEqual([5, 6]);
    expect([machine.version(small), machine.version(huge)]).toEqual([FREE_FRAME, FREE_FRAME]);
    expect(vm.thread.counters[VmCounter.host_pages_moved]).toBe(513);
  });
});
