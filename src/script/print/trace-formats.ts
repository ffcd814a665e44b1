/**
 * The formats of the events of a trace: the kernel's tracepoints as its TP_printk print them, function entries and returns as kprobe
 * events of those names. What a trace of a kernel does not have (lock calls, steps of walks) has no format.
 */
import type { Kvm } from '../../mmu/kvm.ts';
import type { PlainEvent } from '../record/event.ts';

/** Name of the event, and its text. */
export type TraceText = readonly [name: string, text: string];
type Format = (event: PlainEvent, places: TracePlaces) => TraceText;

/** Where things are, which events name by their address. */
export interface TracePlaces {
  /** Host virtual address of a page of a region. */
  hva(region: number, page: number): number;
  /** Address of the entry for `gfn`, as the kernel maps it; null where its table is not known. */
  sptep(gfn: number, level: number): bigint | null;
  /** The root that was made last. */
  readonly root: number;
  readonly kvm: Kvm;
}

/** The letters of an error code, as fast_page_fault prints them. */
const FAULT_FLAGS: readonly (readonly [number, string])[] = [
  [1, 'P'],
  [2, 'W'],
  [4, 'U'],
  [8, 'RSVD'],
  [16, 'F'],
];
/** PFERR_GUEST_FINAL_MASK: the guest's access itself faulted, not its page walk. */
const FINAL_ACCESS = 2 ** 32;
/** Where the kernel maps physical memory. */
const DIRECT_MAP = 0xffff_8880_0000_0000n;

const bare = (hexadecimal: string | number): string => String(hexadecimal).replace(/^0x/, '');
const gpa = (gfn: string | number): bigint => BigInt(gfn) * 4096n;
/** `%#016lx` */
const hva16 = (address: number): string => `0x${address.toString(16).padStart(14, '0')}`;
/** A kernel virtual address. */
export const kernelAddress = (physical: bigint): string => (DIRECT_MAP + physical).toString(16);
/** Words of the arena are four bytes. */
const wordAddress = (word: string | number): string => kernelAddress(BigInt(word) * 4n);

/** The fields of a kprobe event, as they are. */
const fieldsText = ({ fields }: PlainEvent): string =>
  Object.entries(fields)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');

/** A kprobe at the entry of a function: the function, and what it was given. */
const entry =
  (name: string, place: string): Format =>
  (event) => [name, `(${place} [kvm]) ${fieldsText(event)}`.trimEnd()];

/** An event whose text the recorder has. */
const asIs: Format = ({ e, fields }) => [e, String(fields.text)];

/** A notifier's range of pages in a region as one of host addresses. */
function rangeText({ fields }: PlainEvent, what: string, { hva }: TracePlaces): string {
  const match = /memory (\d+) pages (\w+) -- (\w+)/.exec(String(fields.text));
  const [region, first, end] = match === null ? [0, 0, 0] : match.slice(1).map(Number);
  return `mmu notifier ${what}: ${hva16(hva(region, first))} -- ${hva16(hva(region, end))}`;
}

/** What a page-table page is (KVM_MMU_PAGE_PRINTK). */
function pageText(gfn: string | number, level: string | number, { kvm }: TracePlaces): string {
  return `sp gen 0 gfn ${bare(gfn)} l${level} 8-byte q0 direct wux nxe ${kvm.config.adBits ? '' : '!'}ad root 0 sync`;
}

export const TRACE_FORMATS: Readonly<Record<string, Format>> = {
  npf: ({ fields, detail }) => {
    const address = `0x${gpa(fields.gfn).toString(16).padStart(16, '0')}`;
    const code = `0x${(FINAL_ACCESS + Number(detail?.error ?? 0)).toString(16)}`;
    return ['kvm_page_fault', `vcpu ${fields.vcpu} rip 0x0 address ${address} error_code ${code}`];
  },
  tdp_page_fault_ret: ({ detail }) => {
    const values = `gpa=0x${gpa(detail?.gfn ?? 0).toString(16)} ret=${detail?.code ?? 0}`;
    return ['npf_done', `(kvm_mmu_do_page_fault+0x1e8/0x230 [kvm] <- kvm_tdp_page_fault) ${values}`];
  },
  fast_page_fault: ({ fields, detail }) => {
    const error = Number(detail?.error ?? 0);
    const flags = FAULT_FLAGS.flatMap(([bit, name]) => ((error & bit) !== 0 ? [name] : [])).join('|');
    const code = `${flags}|0x${FINAL_ACCESS.toString(16)}`;
    const spte = `sptep ${wordAddress(detail?.sptep ?? 0)} old 0x${bare(fields.old)} new ${bare(fields.new)}`;
    const end = `spurious ${fields.ret === 'SPURIOUS' ? 1 : 0} fixed ${fields.ret === 'FIXED' ? 1 : 0}`;
    return ['fast_page_fault', `vcpu ${fields.vcpu} gva ${gpa(fields.gfn).toString(16)} error_code ${code} ${spte} ${end}`];
  },
  new_table: ({ fields }, places) => ['kvm_mmu_get_page', `${pageText(fields.gfn, fields.level, places)} new`],
  table_removed: ({ fields }, places) => ['kvm_mmu_prepare_zap_page', pageText(fields.gfn, fields.table_level, places)],
  split_huge_page: ({ fields, detail }) => {
    const text = `gfn ${bare(fields.gfn)} spte ${bare(detail?.spte ?? 0)} level ${fields.level} errno ${fields.errno}`;
    return ['kvm_mmu_split_huge_page', text];
  },
  load_root: (_, { kvm, root }) => {
    const ept = kvm.config.cpu === 'ept';
    const place = ept ? '(vmx_load_mmu_pgd+0x4/0x150 [kvm_intel])' : '(svm_load_mmu_pgd+0x4/0xf0 [kvm_amd])';
    return ['load_pgd', `${place} root=0x${gpa(root).toString(16)} level=${kvm.config.rootLevel}`];
  },
  mark_mmio_spte: ({ fields }, { sptep }) => {
    const text = String(fields.text);
    const address = sptep(Number.parseInt(/gfn ([\da-f]+)/.exec(text)?.[1] ?? '0', 16), 1);
    return ['mark_mmio_spte', `sptep:${address === null ? kernelAddress(0n) : kernelAddress(address)} ${text}`];
  },
  check_mmio_spte: asIs,
  handle_mmio_page_fault: asIs,
  kvm_mmio: asIs,
  kvm_mmu_zap_all_fast: asIs,
  kvm_dirty_ring_push: asIs,
  kvm_unmap_hva_range: (event, places) => ['kvm_unmap_hva_range', rangeText(event, 'unmap range', places)],
  kvm_age_hva: (event, places) => ['kvm_age_hva', rangeText(event, 'age hva', places)],
  clear_dirty_pt_masked: entry('clear_dirty_pt_masked', 'kvm_tdp_mmu_clear_dirty_pt_masked+0x4/0x80'),
  try_split: entry('try_split', 'kvm_tdp_mmu_try_split_huge_pages+0x4/0xb0'),
  wrprot_slot: entry('wrprot_slot', 'kvm_tdp_mmu_wrprot_slot+0x4/0x80'),
  clear_dirty_slot: entry('clear_dirty_slot', 'kvm_tdp_mmu_clear_dirty_slot+0x4/0x80'),
  zap_collapsible: entry('zap_collapsible', 'kvm_tdp_mmu_zap_collapsible_sptes+0x4/0x80'),
  inval_roots: entry('inval_roots', 'kvm_tdp_mmu_invalidate_all_roots+0x4/0x40'),
  zap_invalidated_roots: entry('zap_invalidated_roots', 'kvm_tdp_mmu_zap_invalidated_roots+0x4/0xa0'),
  zap_all: entry('zap_all', 'kvm_tdp_mmu_zap_all+0x4/0x50'),
  flush_all: entry('flush_all', 'kvm_flush_remote_tlbs+0x4/0x50'),
  flush_range: entry('flush_range', 'kvm_flush_remote_tlbs_range+0x4/0x30'),
};
