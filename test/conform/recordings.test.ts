import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { conformRecording } from '../../src/conform/conform.ts';
import { readRecording } from '../../src/conform/recording.ts';

const FOLDER = fileURLToPath(new URL('../data/kvm-truth/', import.meta.url));
const files = ['linux-6.1', 'linux-6.12'].flatMap((kernel) =>
  readdirSync(`${FOLDER}${kernel}`).map((file) => `${kernel}/${file}`),
);

describe('recordings of real kernels', () => {
  it('are here', () => {
    expect(files.length).toBeGreaterThan(40);
  });

  it.each(files)('%s: the simulator does the same', { timeout: 180_000 }, (file) => {
    const recording = readRecording(`${FOLDER}${file}`);
    expect(recording.generation).toBe(file.slice('linux-'.length, file.indexOf('/')));
    expect(recording.phases.some(({ events }) => events.length > 0)).toBe(true);
    expect(conformRecording(recording).mismatch).toBeNull();
  });
});
