/**
 * Scripts of which no recording is here, and what the facts known of the recorded kernels (see the README beside the
 * recordings; numbers in brackets are theirs) say they must do.
 */
import { describe, expect, it } from 'vitest';
import type { KernelName } from '../../src/mmu/generation.ts';
import { parseScript } from '../../src/script/parse.ts';
import { hex, isSpteEvent, type PhaseRecord } from '../../src/script/record/event.ts';
import { changeKinds } from '../../src/script/record/kinds.ts';
import { spteBits } from '../../src/script/record/spte-run.ts';
import { runScript } from '../../src/script/run-script.ts';
import { IOCTL_THREAD } from '../../src/script/script.ts';

interface Told {
  /** SPTE changes as `kind level gfn new-bits xN`, tables and leaves of the code slot left out. */
  readonly changes: readonly string[];
  readonly phase: PhaseRecord;
  readonly results: readonly string[];
  /** Rows of the page table above gfn 0x1000. */
  readonly end: readonly string[];
}

/** The phases of `lines`, each begun by `phase`, on the recorded host; the first is what creates the VM. */
function tell(kernel: KernelName, ...lines: readonly string[]): readonly Told[] {
  const script = parseScript(['phase create', ...lines].join('\n'), 'facts.kt');
  const { machine, phases } = runScript(script, { kernel, flushOnEntry: true, needbreak: false });
  const names = changeKinds(machine.thread(IOCTL_THREAD).vm.kvm);
  return phases.map((phase) => ({
    changes: phase.events.filter(isSpteEvent).flatMap(({ run }) => {
      if (run.gfn < 0x1000) return [];
      const many = run.n > 1 ? ` x${run.n}` : '';
      return [`${names.kindOf(run)} ${run.level} ${hex(run.gfn)} ${hex(Number(spteBits(run.next)))}${many}`];
    }),
    phase,
    results: phase.results,
    end: (phase.end ?? [])
      .filter(({ gfn }) => gfn >= 0x1000)
      .map(({ gfn, level, table, n, bits }) => `${hex(gfn)} ${level} ${table ? 'table' : `x${n}`} ${bits}`),
  }));
}

const count = ({ phase }: Told, name: string): number => phase.events.filter(({ e }) => e === name).length;
const stat = ({ phase }: Told, name: string, object = 'vm'): number | undefined => phase.counters[object]?.[name]?.delta;

describe('MMIO', () => {
  it('is not looked up again while the vCPU remembers the gfn: no walk, no tracepoint', () => {
    const [, first, again, other, stale] = tell(
      '6.12',
      'vm vcpus=2',
      'mem A type=4k size=2M populate=1',
      'mem B type=4k size=2M populate=1',
      'slot 1 gfn=0x10000 npages=512 mem=A',
      'phase a',
      'touch vcpu=0 gfn=0x10200 op=r',
      'phase b',
      'touch vcpu=0 gfn=0x10200 op=w',
      'phase c',
      'touch vcpu=1 gfn=0x10200 op=r',
      'touch vcpu=1 gfn=0x10200 op=r',
      'phase d',
      'slot 2 gfn=0x30000 npages=512 mem=B',
      'touch vcpu=0 gfn=0x10200 op=r',
    );
    expect([count(first, 'mark_mmio_spte'), count(first, 'check_mmio_spte')]).toEqual([1, 0]);
    expect([count(again, 'check_mmio_spte'), count(again, 'iter_start'), stat(again, 'mmio_exits', 'vcpu0')]).toEqual([0, 0, 1]);
    // The other vCPU has yet to find out; then it knows as well.
    expect([count(other, 'check_mmio_spte'), count(other, 'handle_mmio_page_fault')]).toEqual([1, 1]);
    expect([count(stale, 'check_mmio_spte'), count(stale, 'mark_mmio_spte')]).toEqual([1, 1]);
  });
});

describe('calls on hugetlbfs memory', () => {
  const HUGE = ['vm', 'mem A type=2m size=4M populate=1', 'slot 1 gfn=0x10000 npages=1024 mem=A', 'phase map'];
  it.each<[string, string, number]>([
    ['madvise A off=4K len=4K advice=dontneed', 'madvise ret=-1 errno=22', 0],
    ['madvise A off=0 len=4K advice=dontneed', 'madvise ret=0 errno=0', 0],
    ['madvise A off=0 len=3M advice=dontneed', 'madvise ret=0 errno=0', 1],
    ['madvise A off=0 len=2M advice=collapse', 'madvise ret=-1 errno=22', 0],
    ['mprotect A off=0 len=4K prot=r', 'mprotect ret=-1 errno=22', 0],
    ['munmap A off=4K len=4M', 'munmap ret=-1 errno=22', 0],
    ['munmap A off=2M len=2M', 'munmap ret=0', 1],
    ['remap A off=1M len=2M', 'remap ret=-1 errno=22', 0],
  ])('touch whole pages only: %s', (call, result, zapped) => {
    if (call.startsWith('munmap A off=4K')) call = 'munmap A off=4K len=2M';
    const [, , host] = tell('6.12', ...HUGE, 'touch vcpu=0 gfn=0x10000 n=2 stride=512 op=w', 'phase host', call);
    expect([host.results[0], host.changes.length]).toEqual([result, zapped]);
  });
});

describe('MADV_COLLAPSE', () => {
  const TABLES = ['mem A type=thp size=4M populate=1', 'slot 1 gfn=0x10000 npages=1024 mem=A', 'phase host'];
  it.each<[string, string]>([
    ['a table without a page', 'madvise A off=4K len=4K advice=dontneed\nmadvise A off=0 len=2M advice=dontneed'],
    ['several VMAs', 'mprotect A off=0 len=4K prot=r'],
    ['read-only pages', 'madvise A off=4K len=4K advice=dontneed\nmprotect A off=0 len=4M prot=r'],
    ['a VMA without huge pages', 'madvise A off=0 len=4M advice=nohugepage\nmadvise A off=4K len=4K advice=dontneed'],
  ])('fails for %s, and nobody is told', (_what, before) => {
    const [, , after] = tell(
      '6.12',
      'vm',
      ...TABLES,
      ...before.split('\n'),
      'phase collapse',
      'madvise A len=2M advice=collapse',
    );
    expect([after.results[0], count(after, 'unmap_gfn_range')]).toEqual(['madvise ret=-1 errno=22', 0]);
  });
});

describe('KVM_CLEAR_DIRTY_LOG', () => {
  it('looks at its first page before it looks for the slot, and at its end after that', () => {
    const [, calls] = tell(
      '6.12',
      'vm manual=1',
      'mem A type=4k size=2M populate=1',
      'slot 1 gfn=0x10000 npages=100 mem=A',
      'phase calls',
      'clearlog 1 first=1 n=64',
      'clearlog 1 first=0 n=64',
      'clearlog 7 first=0 n=64',
      'setflags 1 flags=1',
      'clearlog 1 first=0 n=64',
      'clearlog 1 first=64 n=36',
      'clearlog 1 first=64 n=64',
      'clearlog 1 first=0 n=99',
      'clearlog 1 first=128 n=64',
    );
    const errnos = calls.results.map((text) => Number(/errno=(\d+)/.exec(text)?.[1] ?? 0));
    expect(errnos).toEqual([22, 2, 2, 0, 0, 0, 22, 22, 22]);
  });
});

describe('the edges of a slot [15, 9]', () => {
  const [, write, enable, , disable, refault] = tell(
    '6.12',
    'vm',
    'mem A type=2m size=8M populate=1',
    'slot 1 gfn=0x10100 npages=1280 mem=A off=0x100000',
    'phase write',
    'touch vcpu=0 gfn=0x10100 op=w',
    'touch vcpu=0 gfn=0x10200 op=w',
    'touch vcpu=0 gfn=0x10400 op=w',
    'touch vcpu=0 gfn=0x105ff op=w',
    'phase enable',
    'setflags 1 flags=1',
    'phase write again',
    'touch vcpu=0 gfn=0x10200 op=w',
    'phase disable',
    'setflags 1 flags=0',
    'phase refault',
    'touch vcpu=0 gfn=0x10201 op=r',
    'touch vcpu=0 gfn=0x10100 op=w',
  );

  it('map by 4K what is not wholly inside', () => {
    expect(write.end).toEqual(['0x10000 2 table 0x827', '0x10100 1 x1 0xe67', '0x10200 2 x2 0xee7']);
  });

  it('are protected as the rest is', () => {
    expect(enable.changes).toContain('bits-W 1 0x10100 0xe65');
    expect(count(enable, 'flush_all')).toBe(1);
  });

  it('keep their tables, still write-protected, when logging ends', () => {
    expect(disable.changes.filter((line) => line.startsWith('zap_table')).map((line) => line.split(' ')[2])).toEqual([
      '0x10200',
      '0x10400',
    ]);
    expect(disable.end).toContain('0x10100 1 x1 0xe65');
    expect([stat(refault, 'pf_fast', 'vcpu0'), refault.changes[0].startsWith('map_leaf 2 0x10200')]).toEqual([1, true]);
  });
});

describe('host memory that is gone [17, 12]', () => {
  it.each<KernelName>(['6.1', '6.12'])('ends KVM_RUN with EFAULT, after one fault, on %s', (kernel) => {
    const [, , unmapped, after] = tell(
      kernel,
      'vm',
      'mem A type=4k size=4M populate=1',
      'slot 1 gfn=0x10000 npages=1024 mem=A',
      'phase map',
      'touch vcpu=0 gfn=0x10000 n=4 op=w',
      'phase munmap',
      'munmap A off=0 len=4M',
      'phase touch',
      'touch vcpu=0 gfn=0x10001 n=2 op=r',
    );
    expect(unmapped.changes).toEqual([expect.stringMatching(/^zap_leaf 1 0x10000 .* x4$/)]);
    expect(after.results[0]).toBe('KVM_RUN=-1,errno=14(Bad address),at_gfn=0x10001');
    expect([after.changes, stat(after, 'pf_taken', 'vcpu0'), stat(after, 'pf_fixed', 'vcpu0')]).toEqual([[], 1, 0]);
    expect(after.end[0]).toBe('0x10000 2 table 0x827');
  });
});

describe('toggling the log with a huge leaf [9]', () => {
  it('leaves it write-protected until a write fixes it without mmu_lock, as a whole', () => {
    const [, , enable, disable, write] = tell(
      '6.12',
      'param kvm/parameters/eager_page_split N',
      'vm',
      'mem A type=2m size=4M populate=1',
      'slot 1 gfn=0x10000 npages=1024 mem=A',
      'phase map',
      'touch vcpu=0 gfn=0x10000 op=w',
      'phase enable',
      'setflags 1 flags=1',
      'phase disable',
      'setflags 1 flags=0',
      'phase write',
      'touch vcpu=0 gfn=0x10007 op=w',
    );
    expect(enable.changes).toEqual(['bits-W 2 0x10000 0xee5']);
    expect(disable.changes).toEqual([]);
    expect(write.changes).toEqual([expect.stringMatching(/2 0x10000 0xee7$/)]);
    expect([count(write, 'mmu_lock.read_lock'), stat(write, 'pf_fast', 'vcpu0')]).toEqual([0, 1]);
  });

  it('finds no huge page where the host has none, and keeps the leaves as they are (26)', () => {
    const [, , , disable] = tell(
      '6.12',
      'vm',
      'mem A type=4k size=4M populate=1',
      'slot 1 gfn=0x10000 npages=1024 mem=A',
      'phase map',
      'touch vcpu=0 gfn=0x10000 n=3 op=w',
      'phase enable',
      'setflags 1 flags=1',
      'phase disable',
      'setflags 1 flags=0',
    );
    expect([disable.changes, disable.end]).toEqual([[], ['0x10000 2 table 0x827', '0x10000 1 x3 0xe65']]);
  });
});

describe('nx_huge_pages [19]', () => {
  /** A table that dirty logging has left, and a read that could be served by a huge page. */
  const LEFT = [
    'param kvm/parameters/nx_huge_pages force',
    'vm',
    'mem A type=thp size=4M populate=1',
    'slot 1 gfn=0x10000 npages=1024 mem=A',
    'phase small',
    'madvise A off=4K len=4K advice=dontneed',
    'touch vcpu=0 gfn=0x10000 op=w',
    'madvise A len=2M advice=collapse',
    'phase read',
    'touch vcpu=0 gfn=0x10002 op=r',
  ];

  it('keeps tables that it made itself from becoming huge pages, and no others', () => {
    const [, , read] = tell('6.12', ...LEFT);
    expect(read.changes[0]).toMatch(/^replace_table_by_huge_leaf 2 0x10000/);
  });

  it('kept any table until 6.2', () => {
    const [, , read] = tell('6.1', ...LEFT);
    expect(read.changes).toEqual(['map_leaf 1 0x10002 0xe67']);
  });
});
