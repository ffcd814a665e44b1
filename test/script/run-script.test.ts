import { describe, expect, it } from 'vitest';
import { PageState } from '../../src/machine/page-allocator.ts';
import type { KernelName } from '../../src/mmu/generation.ts';
import { IterMode } from '../../src/mmu/params.ts';
import { parseScript } from '../../src/script/parse.ts';
import { isSpteEvent } from '../../src/script/record/event.ts';
import { changeKinds } from '../../src/script/record/kinds.ts';
import { type RunOptions, runScript, type ScriptRun } from '../../src/script/run-script.ts';
import { IOCTL_THREAD } from '../../src/script/script.ts';

const run = (lines: readonly string[], options: Partial<RunOptions> = {}): ScriptRun =>
  runScript(parseScript(lines.join('\n'), 'test.kt'), options);

/** Kinds of the SPTE changes of phase `n`, with how many there were. */
function kinds({ machine, phases }: ScriptRun, n: number): Record<string, number> {
  const names = changeKinds(machine.thread(IOCTL_THREAD).vm.kvm);
  const counts: Record<string, number> = {};
  for (const event of phases[n].events) {
    if (!isSpteEvent(event)) continue;
    const kind = names.kindOf(event.run);
    counts[kind] = (counts[kind] ?? 0) + event.run.n;
  }
  return counts;
}

const HUGE = ['vm vcpus=2', 'mem A type=2m size=4M populate=1', 'slot 1 gfn=0x10000 npages=1024 mem=A'];

describe('the interpreter', () => {
  it('tells what calls return', () => {
    const { phases } = run([
      ...HUGE,
      'phase calls',
      'slot 2 gfn=0x10100 npages=1 mem=A',
      'getlog 1',
      'setflags 1 flags=1',
      'touch vcpu=0 gfn=0x10005 n=2 op=w',
      'getlog 1',
      'clearlog 1 first=1 n=64',
      'touch vcpu=0 gfn=0x20000 n=2 op=r',
      'mprotect A off=0 len=2M prot=r',
      'touch vcpu=0 gfn=0x10000 op=w',
      'prefault vcpu=0 gfn=0x10200 n=512',
      'delslot 7',
    ]);
    expect(phases[1].results).toEqual([
      'SET_USER_MEMORY_REGION errno=17(File exists)',
      'getlog ret=-1 errno=2',
      '',
      'ok',
      'getlog dirty_count=2 ranges=0x10005+2;',
      'clearlog ret=-1 errno=22',
      'MMIO(gpa=0x20000040,len=4,r) MMIO(gpa=0x20001040,len=4,r)',
      'mprotect ret=0',
      'KVM_RUN=-1,errno=14(Bad address),at_gfn=0x10000',
      'prefault ret=0 errno=0 left=0x0',
      'SET_USER_MEMORY_REGION errno=22(Invalid argument)',
    ]);
  });

  it.each<[KernelName, Record<string, number>]>([
    ['6.12', { split_huge: 1, 'bits-D': 0, 'bits+W': 1 }],
    ['6.1', { freeze_leaf: 1, link_table: 1, map_leaf: 1 }],
  ])('runs under the kernel that is asked for: %s', (kernel, expected) => {
    const lines = [
      'param eager_page_split N',
      ...HUGE,
      'touch vcpu=0 gfn=0x10000 op=w',
      'setflags 1 flags=1',
      'phase write',
      'touch vcpu=0 gfn=0x10000 op=w',
    ];
    expect(kinds(run(lines, { kernel }), 1)).toMatchObject(Object.fromEntries(Object.entries(expected).filter(([, n]) => n > 0)));
  });

  it('counts from the beginning of each phase', () => {
    const { phases } = run([...HUGE, 'touch vcpu=0 gfn=0x10000 op=w', 'phase more', 'touch vcpu=1 gfn=0x10200 op=w']);
    expect(phases[0].counters.vm.pages_2m).toEqual({ total: 1, delta: 1 });
    expect(phases[1].counters.vm.pages_2m).toEqual({ total: 2, delta: 1 });
    expect(phases[1].counters.vcpu1.pf_taken.delta).toBe(1);
  });

  it('decides the order of threads by the seed, and the same for the same seed', () => {
    const lines = [
      ...HUGE,
      'phase race',
      'atouch vcpu=0 gfn=0x10000 n=2 stride=512 op=w',
      'atouch vcpu=1 gfn=0x10000 n=2 stride=512 op=w',
      'zapall',
      'wait',
    ];
    const order = (seed: number): string =>
      run(lines, { seed })
        .phases[1].events.map(({ e, by }) => `${by} ${e}`)
        .join();
    const orders = [1, 2, 3, 4, 5, 6].map(order);
    expect(new Set(orders).size).toBeGreaterThan(3);
    expect([1, 2, 3, 4, 5, 6].map(order)).toEqual(orders);
  });

  it('hides changes that the tracing filter excludes', () => {
    const filter = 'sys /sys/kernel/tracing/events/kvmmmu/kvm_tdp_mmu_spte_changed/filter new_spte!=0x80000000000005a0';
    const lines = [...HUGE, 'touch vcpu=0 gfn=0x10000 op=w', 'phase zap', 'zapall'];
    expect(kinds(run(lines), 1)).toHaveProperty('freeze_nonpresent');
    expect(kinds(run([filter, ...lines]), 1)).not.toHaveProperty('freeze_nonpresent');
  });

  it('fills dirty rings, stops at a full one, and goes on after a reset', () => {
    const { phases } = run([
      'vm vcpus=1 dirty_ring=128',
      'mem A size=64K populate=1',
      'slot 1 gfn=0x10 npages=16 mem=A flags=1',
      'phase fill',
      'touch vcpu=0 gfn=0x10 n=16 op=w',
      'getring vcpu=0',
      'getring vcpu=0',
      'resetrings',
      'touch vcpu=0 gfn=0x10 n=1 op=w',
      'getring vcpu=0',
    ]);
    expect(phases[1].results).toEqual([
      expect.stringMatching(/^DIRTY_RING_FULL,at_gfn=0x1[0-9a-f]$/),
      expect.stringMatching(/^getring 1:0x0;1:0x1;1:0x2;1:0x3;/),
      'getring ',
      expect.stringMatching(/^resetrings ret=[1-8] errno=0$/),
      'ok',
      'getring 1:0x0;',
    ]);
  });

  it.each([
    ['expect mapped gfn=0x10200', /^test\.kt:7: expectation failed: gfn 0x10200 is not mapped$/],
    ['expect mapped gfn=0x10000 level=1', /is mapped at level 2, not 1$/],
    ['expect mapped gfn=0x10000 bits=0x1', /has bits 0xee7, not 0x1$/],
    ['expect unmapped gfn=0x10000', /gfn 0x10000 is mapped: 0x[0-9a-f]+ at level 2$/],
    ['expect counter name=pages_2m delta=2', /pages_2m changed by 1, not by 2$/],
    ['expect counter name=pages_3m delta=1', /there is no counter 'pages_3m' \(allowed: /],
    ['expect dirty slot=1 n=1', /slot 1 has no dirty log$/],
    ['expect changes kind=map_leaf n=7', /2 changes of kind map_leaf, not 7$/],
    ['expect result is=MMIO', /the last result is 'ok', not 'MMIO'$/],
  ])('fails where %s does not hold', (line, message) => {
    expect(() => run([...HUGE, 'phase map', 'touch vcpu=0 gfn=0x10000 op=w', '#', line])).toThrow(message);
  });

  it('walks as the run asks for, and else as the script says', () => {
    const [vm, ...rest] = HUGE;
    const lines = [`${vm} iter=skip32`, ...rest];
    const mode = (options: Partial<RunOptions>) => run(lines, options).machine.thread(IOCTL_THREAD).vm.kvm.params.iterMode;
    expect([mode({}), mode({ iter: 'only-present' })]).toEqual([IterMode.skip32, IterMode.onlyPresent]);
  });

  it('goes on where expectations hold', () => {
    const lines = [
      ...HUGE,
      'setflags 1 flags=1',
      'phase map',
      'touch vcpu=0 gfn=0x10000 n=3 op=w',
      'expect dirty slot=1 n=3',
      'expect dirty slot=1 gfn=0x10002',
      'expect mapped gfn=0x10001 level=1 bits=0xe67',
      'expect unmapped gfn=0x10003',
      'expect counter name=pages_4k delta=4 total=4',
      'expect result is=ok',
    ];
    expect(run(lines).phases).toHaveLength(2);
  });

  it('destroys the VM and frees all of its tables', () => {
    const { phases, machine } = run([...HUGE, 'touch vcpu=0 gfn=0x10000 n=4 op=w', 'phase end', 'destroy']);
    expect(phases[1].end).toBeNull();
    const { kvm } = machine.thread(IOCTL_THREAD).vm;
    const states = Array.from({ length: kvm.config.tablePages - 1 }, (_, i) => kvm.allocator.stateOf(kvm.memory, i + 1));
    expect(phases[1].events.filter(({ e }) => e === 'table_removed')).toHaveLength(3);
    expect(states.filter((state) => state === PageState.live)).toEqual([]);
    expect(states).toContain(PageState.free);
  });
});

describe('disturbances', () => {
  const lines = (...disturbance: string[]): string[] => [
    'vm vcpus=1 entries=8 code=0',
    'mem A type=4k size=256K populate=1',
    'slot 1 gfn=0x40 npages=64 mem=A',
    'touch vcpu=0 gfn=0x40 n=64 op=w',
    'phase protect',
    'thread ioctl',
    ...disturbance,
    'setflags 1 flags=1',
    'join',
  ];
  const yields = (...disturbance: string[]): number =>
    run(lines(...disturbance)).phases[1].events.filter(({ e }) => e === 'yield_read').length;

  it('makes walks yield as often as `resched` says', () => {
    expect(yields()).toBe(0);
    expect(yields('resched every=1')).toBeGreaterThan(yields('resched every=8'));
    expect(yields('resched every=8')).toBeGreaterThan(0);
    expect(yields('resched every=1', 'resched every=0')).toBe(0);
  });

  it('makes eager splitting drop the lock where an allocation fails', () => {
    const split = (disturbance: string): number => {
      const { phases } = run(
        [
          'vm vcpus=1 kernel=6.1',
          'mem A type=2m size=8M populate=1',
          'slot 1 gfn=0x10000 npages=2048 mem=A',
          'touch vcpu=0 gfn=0x10000 n=4 stride=512 op=w',
          'phase split',
          'thread ioctl',
          disturbance,
          'setflags 1 flags=1',
          'join',
        ],
        {},
      );
      return phases[1].events.filter(({ e }) => e === 'mmu_lock.read_lock').length;
    };
    expect(split('allocfail every=1')).toBe(split('allocfail every=0') + 4);
  });
});
