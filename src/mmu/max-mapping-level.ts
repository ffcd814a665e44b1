/** How large a page a gfn may be mapped with (kernel: kvm_mmu_max_mapping_level in mmu.c). */
import type { Task } from '../machine/point.ts';
import type { Kvm } from './kvm.ts';
import { type Gfn, type Level, MAX_HUGEPAGE_LEVEL, PG_LEVEL_4K } from './level.ts';
import { type Memslot, slotAllowsLevel } from './memslot.ts';
import { rangeIsWriteTracked } from './page-track.ts';

/** The highest level, up to `most`, that the slot's geometry, write tracking and the host's mapping allow at `gfn`. */
export function* kvmMmuMaxMappingLevel(kvm: Kvm, slot: Memslot, gfn: Gfn, most: Level = MAX_HUGEPAGE_LEVEL): Task<Level> {
  const { geometry } = kvm;
  let level = most;
  while (level > PG_LEVEL_4K) {
    const base = geometry.round(gfn, level);
    const tracked = yield* rangeIsWriteTracked(kvm, base, geometry.span(level));
    if (slotAllowsLevel(slot, geometry, gfn, level) && !tracked) break;
    level--;
  }
  // The host's tables are looked at only where they matter.
  if (level === PG_LEVEL_4K) return level;
  return Math.min(level, yield* kvm.host.mappingLevel(kvm, slot, gfn));
}
