import { describe, expect, it } from 'vitest';
import { fromBigInt, toBigInt, Word64, ZERO64 } from '../../src/machine/word64.ts';
import { KERNELS, type KernelName } from '../../src/mmu/generation.ts';
import { asGfn, asPfn } from '../../src/mmu/level.ts';
import { Access, AdType, type MakeSpte, pfnBits, SpteLayout, sptePfn, withoutWritable } from '../../src/mmu/spte.ts';
import { type CpuName, FORMATS } from '../../src/mmu/spte-format.ts';

const layoutOf = (cpu: CpuName, kernel: KernelName = '6.12', nxHugePages = false, adBits = true) =>
  new SpteLayout(FORMATS[cpu], KERNELS[kernel], { adBits, nxHugePages });

const leaf = (layout: SpteLayout, over: Partial<MakeSpte> = {}): bigint =>
  toBigInt(
    layout.makeLeaf({
      level: 1,
      pfn: asPfn(0),
      access: Access.all,
      hostWritable: true,
      writeTracked: false,
      prefetch: false,
      old: layout.nonpresent,
      adType: AdType.enabled,
      ...over,
    }),
  );

describe('SPTEs on NPT, as recorded from Linux 6.12', () => {
  const npt = layoutOf('npt');

  it.each([
    ['4K, writable', {}, 0xe67n],
    ['4K, host read-only', { hostWritable: false }, 0x825n],
    ['2M, writable', { level: 2 }, 0xee7n],
    ['2M, host read-only', { level: 2, hostWritable: false }, 0x8a5n],
    ['4K, prefetched', { prefetch: true }, 0xe47n],
    ['2M, prefetched', { level: 2, prefetch: true }, 0xec7n],
    ['4K, write-tracked', { writeTracked: true }, 0xa25n],
  ] as [string, Partial<MakeSpte>, bigint][])('%s', (_name, over, bits) => {
    expect(leaf(npt, over)).toBe(bits);
  });

  it('links tables with all rights and A', () => {
    expect(toBigInt(npt.makeNonleaf(0x1f, false))).toBe(0x1f827n);
  });

  it('knows the empty and the frozen value of each kernel', () => {
    expect([toBigInt(npt.nonpresent), toBigInt(npt.frozen)]).toEqual([0x8000000000000000n, 0x80000000000005a0n]);
    const old = layoutOf('npt', '6.1');
    expect([toBigInt(old.nonpresent), toBigInt(old.frozen)]).toEqual([0n, 0x5a0n]);
  });

  it('makes MMIO SPTEs that carry gfn and generation', () => {
    const spte = npt.makeMmio(asGfn(0x10200), Access.all, 4);
    expect(toBigInt(spte)).toBe(0x8000010200027n);
    expect(npt.isMmio(spte)).toBe(true);
    expect(npt.mmioGeneration(spte)).toBe(4);
    expect(npt.mmioGeneration(npt.makeMmio(asGfn(1), Access.all, 0x5a3c1))).toBe(0x5a3c1);
  });

  it('sets NX instead of X, and gives it back to small pages only', () => {
    const strict = layoutOf('npt', '6.12', true);
    const huge = leaf(strict, { level: 2, pfn: asPfn(512) });
    expect(huge >> 63n).toBe(1n);
    expect(toBigInt(strict.makeSplitChild(fromBigInt(huge), 2, 3, true))).toBe(0x203e67n);
    const giant = leaf(strict, { level: 3 });
    expect(toBigInt(strict.makeSplitChild(fromBigInt(giant), 3, 512, true)) >> 63n).toBe(1n);
  });

  it('leaves D out where the old leaf was writable, until 6.13', () => {
    const old = fromBigInt(0xe67n);
    expect(leaf(npt, { old })).toBe(0xe27n);
    expect(leaf(layoutOf('npt', '6.13'), { old })).toBe(0xe67n);
    const table = npt.makeNonleaf(7, false);
    expect(leaf(npt, { old: table, level: 2 })).toBe(0xee7n);
  });
});

describe('SPTEs on EPT', () => {
  const ept = layoutOf('ept');

  it('has R, W, X, write-back memory, A and D, and the software bits at the top', () => {
    expect(leaf(ept)).toBe(0x8600000000000b77n);
    expect(leaf(layoutOf('ept', '6.1'))).toBe(0x0600000000000b77n);
    expect(toBigInt(layoutOf('ept', '6.1').makeNonleaf(1, false))).toBe(0x1907n);
  });

  it('saves R and X while access-tracked, and restores them, but not W', () => {
    const old = layoutOf('ept', '6.1', false, false);
    const spte = fromBigInt(leaf(old, { adType: AdType.disabled }));
    const tracked = old.markForAccessTrack(spte);
    expect(old.isAccessTracked(tracked)).toBe(true);
    expect(toBigInt(tracked) & 7n).toBe(0n);
    expect((toBigInt(tracked) >> 54n) & 5n).toBe(5n);
    expect(toBigInt(old.restoreAccessTrack(tracked))).toBe(toBigInt(withoutWritable(spte)));
  });
});

describe('predicates', () => {
  const npt = layoutOf('npt');
  it.each([
    ['writable, accessed, dirty', 0xe67n, false],
    ['not dirty yet', 0xe27n, true],
    ['not accessed yet', 0xe47n, true],
    ['protected for the log: a fast fault may set W', 0xe65n, true],
    ['protected for good', 0xa65n, false],
  ])('volatile: %s', (_name, bits, expected) => {
    expect(npt.isVolatile(fromBigInt(bits))).toBe(expected);
  });

  it('refuses writable bits that KVM never makes', () => {
    expect(() => npt.checkWritableInvariants(fromBigInt(0x867n))).toThrow(/not MMU-writable/);
    expect(() => npt.checkWritableInvariants(fromBigInt(0xc65n))).toThrow(/not host-writable/);
  });

  it('keeps PFNs of 46-bit addresses', () => {
    for (const pfn of [1, 2 ** 20 - 1, 2 ** 20, 2 ** 34 - 1, 2 ** 40 - 1]) expect(sptePfn(pfnBits(asPfn(pfn)))).toBe(pfn);
    expect(sptePfn(new Word64(-1, -1))).toBe(2 ** 40 - 1);
    expect(sptePfn(ZERO64)).toBe(0);
  });
});
