import { describe, expect, it } from 'vitest';
import { conformRecording } from '../../src/conform/conform.ts';
import { parseRecording } from '../../src/conform/recording.ts';
import { parseScript } from '../../src/script/parse.ts';
import { operationText } from '../../src/script/print/operation-text.ts';
import { phaseText } from '../../src/script/print/phase-text.ts';
import { recordingJson } from '../../src/script/print/recording-json.ts';
import { TracePrinter } from '../../src/script/print/trace-text.ts';
import { changeKinds } from '../../src/script/record/kinds.ts';
import { runScript, type ScriptRun } from '../../src/script/run-script.ts';
import { IOCTL_THREAD } from '../../src/script/script.ts';

const SCRIPT = [
  'phase create',
  'vm vcpus=1 manual=1',
  'mem A type=2m size=0x400000 populate=1',
  'slot 1 gfn=0x10000 npages=1024 mem=A',
  'phase write',
  'touch vcpu=0 gfn=0x10000 n=2 stride=512 op=w',
  'phase log',
  'setflags 1 flags=1',
  'phase write again',
  'touch vcpu=0 gfn=0x10001 op=w',
  'touch vcpu=0 gfn=0x30000 op=r',
  'getlog 1',
  'phase end',
  'destroy',
];

const run = (): ScriptRun => runScript(parseScript(SCRIPT.join('\n'), 'p.kt'), { flushOnEntry: true });
const kvmOf = ({ machine }: ScriptRun) => machine.thread(IOCTL_THREAD).vm.kvm;

describe('operations as text', () => {
  it('are what the script says, without what goes without saying', () => {
    const { phases } = parseScript(SCRIPT.join('\n'), 'p.kt');
    const said = phases.flatMap(({ words, operations }) => [`phase ${words}`, ...operations.map(operationText)]);
    expect(said).toEqual(SCRIPT.map((line) => line.replace('vcpus=1 ', '')));
  });
});

describe('phases for people', () => {
  it('tell what changed, under which locks, at what cost', () => {
    const done = run();
    const kvm = kvmOf(done);
    const options = { kinds: changeKinds(kvm), describe: kvm.spte.describe.bind(kvm.spte), heading: (text: string) => text };
    const text = (n: number): string => phaseText(done.phases[n], done.script.phases[n].operations, options).join('\n');
    expect(text(2)).toContain('phase 2: log\n  setflags 1 flags=1\n');
    expect(text(2)).toMatch(/ioctl {2}2M {2}as 0 gfn 0x10000 {2,}split_huge {2}P\|U\|A\|W\|MMU_PRESENT/);
    expect(text(2)).toMatch(/ioctl {2}4K {2}as 0 gfn 0x10000 and 1023 more {2,}bits-W {6}P\|U\|A\|D\|HOST_W\|MMU_W\|MMU_PRESENT/);
    expect(text(2)).toContain('  mmu_lock\n    ioctl read x4\n  TLB flushes  ioctl 1\n');
    expect(text(2)).toContain('statistics   vm: remote_tlb_flush_requests +1, pages_4k +1024, pages_2m -2');
    expect(text(2)).toContain('          0x10000 512 x 4K 0xe65');
    expect(text(3)).toContain('getlog 1  => getlog dirty_count=1 ranges=0x10001+1;');
    expect(text(3)).toContain('bits+W without mmu_lock');
  });
});

const recorded = (done: ScriptRun) => ({ script: done.script, kvm: kvmOf(done), phases: done.phases });

describe('runs as JSON', () => {
  it('are recordings: comparing one with another run of its script finds no difference', () => {
    const text = JSON.stringify(recordingJson(recorded(run())), null, 1);
    const recording = parseRecording(text, 'run.json');
    expect(recording.generation).toBe('6.12');
    expect(conformRecording(recording).mismatch).toBeNull();
    expect(conformRecording(parseRecording(text.replace('"0xe65"', '"0xe67"'), 'run.json')).mismatch).not.toBeNull();
  });
});

describe('the trace', () => {
  const lines: string[] = [];
  const done = run();
  const printer = new TracePrinter({ print: (line) => lines.push(line), script: done.script, kvm: kvmOf(done) });
  for (const [n, phase] of done.phases.entries()) printer.phase(phase, done.script.phases[n].operations);
  const events = lines.filter((line) => !line.startsWith('#'));

  it('has the columns of the trace file', () => {
    expect(lines[0]).toBe('# tracer: nop');
    for (const line of events) expect(line).toMatch(/^ +\S+-\d+ +\[\d{3}\] \.{3}[.1]\. +\d+\.\d{6}: [a-z_]+: .*$/);
  });

  it.each([
    [/: kvm_page_fault: vcpu 0 rip 0x0 address 0x0000000010000000 error_code 0x100000006$/, 1],
    [/: kvm_tdp_mmu_spte_changed: as id 0 gfn 10000 level 2 old_spte 8000000000000000 new_spte [0-9a-f]+ee7$/, 1],
    [/: kvm_tdp_mmu_spte_changed: as id 0 gfn 10[0-9a-f]{3} level 1 old_spte [0-9a-f]+e67 new_spte [0-9a-f]+e65$/, 1024],
    [/: kvm_mmu_split_huge_page: gfn 10200 spte [0-9a-f]+ee7 level 2 errno 0$/, 1],
    [
      /: fast_page_fault: vcpu 0 gva 10001000 error_code P\|W\|U\|0x100000000 sptep [0-9a-f]+ old 0x[0-9a-f]+e65 new [0-9a-f]+e67 spurious 0 fixed 1$/,
      1,
    ],
    [/: mark_mmio_spte: sptep:ffff888[0-9a-f]+ gfn 30000 access 7 gen 6$/, 1],
    [/: npf_done: \(kvm_mmu_do_page_fault\+0x1e8\/0x230 \[kvm\] <- kvm_tdp_page_fault\) gpa=0x30000000 ret=2$/, 1],
    [/: kvm_mmu_set_spte: gfn 10200 spte [0-9a-f]+ee7 \(rwxu\) level 2 at [1-9a-f][0-9a-f]*408$/, 1],
    [
      /: ioctl_memslot: \(kvm_vm_ioctl\+0x4\/0x18b0 \[kvm\]\) cmd=0x40a0ae49 slot=1 flags=0x1 gpa=0x10000000 size=0x400000 hva=0x100080000000$/,
      1,
    ],
    [/: ioctl_enable_cap: .* cap=168 arg0=0x1$/, 1],
    [/: ioctl_get_dirty_log: .* cmd=0x4010ae42 slot=1$/, 1],
    [/: ioctl_create_vcpu: .* cmd=0xae41 id=0$/, 1],
    [/: load_pgd: \(svm_load_mmu_pgd\+0x4\/0xf0 \[kvm_amd\]\) root=0x[1-9a-f][0-9a-f]*000 level=4$/, 1],
    [/: vm_destroy: /, 1],
    [/: kvm_mmu_get_page: sp gen 0 gfn 10000 l1 8-byte q0 direct wux nxe ad root 0 sync new$/, 1],
    [/: kvm_mmu_prepare_zap_page: sp gen 0 gfn 10000 l1 8-byte q0 direct wux nxe ad root 0 sync$/, 1],
    [/: try_split: \(kvm_tdp_mmu_try_split_huge_pages\+0x4\/0xb0 \[kvm\]\) start=0x10000 end=0x10400 target=1 shared=1$/, 1],
  ])('prints %s', (pattern, times) => {
    expect(events.filter((line) => pattern.test(line))).toHaveLength(times);
  });
});
