/**
 * The series whose figures are reproduced, by name.
 */
import { directMmu } from './direct-mmu.ts';
import { eagerSplit } from './eager-split.ts';
import { fastForward } from './fast-forward.ts';
import type { Paper } from './figure.ts';
import { lazyCollapse } from './lazy-collapse.ts';
import { zapOverhaul } from './zap-overhaul.ts';

export const PAPERS: readonly Paper[] = [eagerSplit, directMmu, zapOverhaul, fastForward, lazyCollapse];
