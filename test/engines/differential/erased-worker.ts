/** Runs the sequence with its coroutines erased, in an arena that the test made. */
import { parentPort, workerData } from 'node:worker_threads';
import { bindArena, bindPerturbation } from '../../../src/machine/point.direct.ts';
import { SharedMemory } from '../../../src/machine/shared-memory.ts';
import { WasmMemory } from '../../../src/machine/wasm-memory.ts';
import type { VmConfig } from '../../../src/vm/vm-config.ts';
import { openSequenceVm } from './open-vm.ts';
import { sequence } from './sequence.ts';

export interface ErasedRun {
  readonly arena: WebAssembly.Memory;
  readonly wasm: boolean;
  readonly config: Partial<VmConfig>;
  readonly perturb: number;
}

const { arena, wasm, config, perturb } = workerData as ErasedRun;
const words = new Int32Array(arena.buffer as unknown as SharedArrayBuffer);
bindArena(words);
bindPerturbation(1, perturb);
const { vm, counters } = openSequenceVm(wasm ? new WasmMemory(arena) : new SharedMemory(words), config);
const log = sequence(vm) as unknown as number[];
parentPort?.postMessage({ log, counters: [...counters] });
