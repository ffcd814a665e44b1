/**
 * The locks of a run, added up over its threads.
 */
import { lockName } from '../../machine/lock-number.ts';
import { LockMode } from '../../machine/probe.ts';
import { MACHINE_SITES, MACHINE_SITES_BASE } from '../../machine/site.ts';
import { SITES } from '../../mmu/site.ts';
import { DurationSum } from './durations.ts';
import { keyParts, OTHER_KEY } from './lock-recorder.ts';
import type { LockMeasurement } from './measurement.ts';
import { LiveField, LOCK_SLOT_DOUBLES, LOCK_SLOTS, LockField, type StatRegion } from './stat-region.ts';

/** The caller that a site number stands for. */
export function siteName(site: number): string {
  return SITES[site] ?? MACHINE_SITES[site - MACHINE_SITES_BASE] ?? `site ${site}`;
}

interface Sum {
  acquisitions: number;
  contended: number;
  readonly wait: DurationSum;
  readonly hold: DurationSum;
}

/** Every combination of lock, mode and caller that was used; those that waited longest first. */
export function readLocks(region: StatRegion): LockMeasurement[] {
  if (!region.measured) return [];
  const sums = new Map<number, Sum>();
  for (let thread = 0; thread < region.threads; thread++) {
    const first = region.offset(thread, 'locks');
    for (let slot = 0; slot < LOCK_SLOTS; slot++) addSlot(region, first + slot * LOCK_SLOT_DOUBLES, sums);
  }
  const locks = [...sums].map(([key, sum]): LockMeasurement => {
    const { lock, mode, site } = keyParts(key);
    const other = key === OTHER_KEY;
    return {
      lock: other ? 'other' : lockName(lock),
      mode: mode === LockMode.read ? 'read' : 'write',
      site: other ? 'other' : siteName(site),
      acquisitions: sum.acquisitions,
      contended: sum.contended,
      wait: sum.wait.durations,
      hold: sum.hold.durations,
    };
  });
  return locks.sort((a, b) => b.wait.totalNs - a.wait.totalNs || b.acquisitions - a.acquisitions);
}

function addSlot(region: StatRegion, base: number, sums: Map<number, Sum>): void {
  const { doubles } = region;
  const key = doubles[base + LockField.key] - 1;
  if (key < 0) return;
  let sum = sums.get(key);
  if (!sum) sums.set(key, (sum = { acquisitions: 0, contended: 0, wait: new DurationSum(), hold: new DurationSum() }));
  sum.acquisitions += doubles[base + LockField.acquisitions];
  sum.contended += doubles[base + LockField.contended];
  sum.wait.add(region, base + LockField.wait);
  sum.hold.add(region, base + LockField.hold);
}

/** What a thread queues for at the moment: `mmu_lock for write in kvm_zap_gfn_range`, or nothing. */
export function waitsFor(region: StatRegion, thread: number): string | undefined {
  if (!region.measured) return undefined;
  const key = region.doubles[region.offset(thread, 'live') + LiveField.waitsFor] - 1;
  if (key < 0) return undefined;
  const { lock, mode, site } = keyParts(key);
  return `${lockName(lock)} for ${mode === LockMode.read ? 'read' : 'write'} in ${siteName(site)}`;
}
