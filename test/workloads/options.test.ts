import { describe, expect, it } from 'vitest';
import { dirtyLog } from '../../src/workloads/dirty-log.ts';
import { findWorkload, WORKLOADS } from '../../src/workloads/index.ts';
import { parseOptions } from '../../src/workloads/option.ts';
import { memstressLayout, vcpuPages } from '../../src/workloads/programs/memstress-layout.ts';
import { parseSetting, runSettings } from '../../src/workloads/run-settings.ts';
import { formatSize, parseSize } from '../../src/workloads/size.ts';
import { editDistance, nearestName, UsageError } from '../../src/workloads/usage-error.ts';
import { prepare } from './coroutine-run.ts';

describe('sizes', () => {
  it.each([
    ['4K', 4096],
    ['12M', 12 * 2 ** 20],
    ['1g', 2 ** 30],
    ['1.5G', 1.5 * 2 ** 30],
    ['12T', 12 * 2 ** 40],
    ['4096', 4096],
    ['0x1000', 4096],
    ['2MiB', 2 ** 21],
    ['64KB', 65536],
  ])('%s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['12Q', '', 'M', '-4K', '4 4K', '1.5', 'NaN', '9999999P'])('rejects %j and names it', (text) => {
    expect(() => parseSize(text, '-b')).toThrow(new RegExp(`^-b: '${text.replace(/[.]/g, '\\.')}' is no size`));
  });

  it.each(['4K', '12M', '1G', '1T', '4097'])('prints %s as it was', (text) => {
    expect(formatSize(parseSize(text))).toBe(text);
  });
});

describe('names', () => {
  it('counts edits', () => {
    expect(editDistance('dirty-lgo', 'dirty-log')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('abc', 'abc')).toBe(0);
  });

  it('finds what was meant, and nothing far away', () => {
    expect(nearestName('demand-pagin', ['dirty-log', 'demand-paging'])).toBe('demand-paging');
    expect(nearestName('demand', ['dirty-log', 'demand-paging'])).toBe('demand-paging');
    expect(nearestName('xyzzy', ['dirty-log', 'demand-paging'])).toBeUndefined();
  });

  it('names the workload that was meant', () => {
    expect(() => findWorkload('dirtylog')).toThrow("unknown workload 'dirtylog': did you mean 'dirty-log'?");
    expect(() => findWorkload('xyzzy')).toThrow(/there are dirty-log, demand-paging/);
  });
});

describe('options of workloads', () => {
  it('have the letters of the selftests', () => {
    const letters = (name: string): string =>
      findWorkload(name)
        .options.map(({ letter }) => letter ?? '')
        .join('');
    expect([...letters('dirty-log')].sort().join('')).toBe('abegiorsvwx');
    expect([...letters('demand-paging')].sort().join('')).toBe('bosv');
    for (const letter of 'vbiodq') expect(letters('memslot-modification')).toContain(letter);
  });

  it.each(WORKLOADS.map((workload) => [workload.name, workload] as const))(
    '%s: no letter, name or key twice',
    (_, { options }) => {
      for (const values of [
        options.map((o) => o.letter).filter(Boolean),
        options.map((o) => o.long),
        options.map((o) => o.key),
      ]) {
        expect(new Set(values).size).toBe(values.length);
      }
    },
  );

  it.each([
    [{ vcpus: '0' }, '-v 0: number of vCPUs must be between 1 and 1024'],
    [{ vcpus: '100000' }, '-v 100000: number of vCPUs must be between 1 and 1024'],
    [{ vcpus: '1.5' }, "-v: '1.5' is no whole number from 1 to 1024 (number of vCPUs)"],
    [{ vcpus: 'x' }, "-v: 'x' is no whole number from 1 to 1024 (number of vCPUs)"],
    [{ bytesPerVcpu: '1000' }, '-b 1000: must be a positive multiple of 4096 bytes'],
    [{ bytesPerVcpu: '0' }, '-b 0: must be a positive multiple of 4096 bytes'],
    [{ writePercent: '101' }, '-w 101: percentage of pages that are written must be between 0 and 100'],
    [{ backing: 'anonymous_hugetlb_2m' }, "unknown value for -s 'anonymous_hugetlb_2m': did you mean 'anonymous_hugetlb_2mb'?"],
  ])('%j: %s', (given, message) => {
    expect(() => parseOptions(dirtyLog.options, given)).toThrow(new UsageError(message));
  });

  it('rejects slots of unequal size', async () => {
    await expect(prepare(dirtyLog, { vcpus: '1', bytesPerVcpu: '1M', slots: '3' })).rejects.toThrow(/^-x 3: 1M cannot be cut/);
  });
});

describe('common options', () => {
  it.each([
    ['eager_page_split=N', 'eagerPageSplit', 0],
    ['kvm.eager_page_split=Y', 'eagerPageSplit', 1],
    ['eagerPageSplit=0', 'eagerPageSplit', 0],
    ['nx-huge-pages=on', 'nxHugePages', 1],
    ['nx_huge_pages_recovery_ratio=30', 'nxHugePagesRecoveryRatio', 30],
    ['kvm_intel.eptad=0', 'adBits', 0],
  ])('--set %s', (text, name, value) => {
    expect(parseSetting(text)).toEqual({ name, value });
  });

  it.each([
    ['eager_page_spilt=N', /did you mean 'eager_page_split'/],
    ['eager_page_split', /give name=value/],
    ['eager_page_split=maybe', /'maybe' is neither/],
    ['eager_page_split=-1', /'-1' is neither/],
  ])('--set %s is an error', (text, message) => {
    expect(() => parseSetting(text)).toThrow(message);
  });

  it('logs by PML on Intel, as kvm_intel does, and never on AMD', () => {
    expect(runSettings({ cpu: 'ept' }, []).params.pml).toBe(1);
    expect(runSettings({ cpu: 'ept' }, ['pml=N']).params.pml).toBe(0);
    expect(runSettings({}, []).params.pml).toBeUndefined();
    expect(runSettings({ iter: 'skip32' }, []).params.iterMode).toBe(1);
    expect(() => runSettings({}, ['pml=1'])).toThrow(/only --cpu ept/);
  });

  it('take the spinlock with the rmap-based MMU, and refuse another', () => {
    expect(runSettings({ mmu: 'shadow' }, []).vm).toMatchObject({ mmu: 'shadow', lock: 'spinlock' });
    expect(runSettings({ mmu: 'shadow', lock: 'spinlock' }, []).vm.lock).toBe('spinlock');
    expect(runSettings({}, []).vm).toMatchObject({ mmu: 'tdp', lock: 'rwlock' });
    expect(() => runSettings({ mmu: 'shadow', lock: 'rwlock' }, [])).toThrow('--mmu shadow: the rmap-based MMU has a spinlock');
  });
});

describe('guest-physical layout', () => {
  const layout = (vcpus: number, bytes: string, backing = 'anonymous') =>
    memstressLayout({ vcpus, bytesPerVcpu: parseSize(bytes), backing });

  // Where the selftests of a 6.12 kernel on a machine with 40 physical address bits had their memory.
  it.each([
    ['demand_paging_test -v 4 -b 12M', layout(4, '12M'), 0xfcfcffe],
    ['dirty_log_perf_test -v 4 -b 6M -s anonymous_hugetlb_2mb', layout(4, '6M', 'anonymous_hugetlb_2mb'), 0xfcfe600],
    ['memslot_modification_stress_test -v 4 -b 2M', layout(4, '2M'), 0xfcff7fe],
  ])('%s', (_, { baseGfn }, gfn) => {
    expect(baseGfn).toBe(gfn);
  });

  it('needs more address bits for more than a terabyte', () => {
    const { baseGfn, pages, maxGfn } = layout(4, '1T');
    expect(maxGfn).toBeGreaterThan(2 ** 28);
    expect(baseGfn + pages).toBeLessThan(maxGfn);
  });

  it('gives each vCPU its share, or all of it', () => {
    const options = { vcpus: 4, bytesPerVcpu: parseSize('1M'), backing: 'anonymous' };
    const whole = memstressLayout(options);
    expect(vcpuPages(whole, options, 3)).toEqual({ first: whole.baseGfn + 768, count: 256 });
    expect(vcpuPages(whole, { ...options, overlap: true }, 3)).toEqual({ first: whole.baseGfn, count: 1024 });
  });
});
