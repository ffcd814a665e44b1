/**
 * Reading a recording line by line, gzipped or not, however long it is.
 */
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { UsageError, unreadableText } from './usage-error.ts';

const GZIP_MAGIC = [0x1f, 0x8b];
const NEWLINE = 0x0a;
/** Bytes that are looked at to tell text from other files. */
const PROBE_BYTES = 512;

/**
 * Calls `onLine` for each line of `file`. Returns whether its last line ends with a newline, as every line of ftrace does.
 * Errors: UsageError for what is no text, or no whole gzip file.
 */
export async function readLines(file: string, onLine: (line: string) => void): Promise<boolean> {
  const gzipped = await probe(file);
  const raw = createReadStream(file);
  const input = gzipped ? raw.pipe(createGunzip()) : raw;
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  let checked = !gzipped;
  let lastByte = NEWLINE;
  input.on('data', (chunk: Buffer) => {
    lastByte = chunk.at(-1) ?? lastByte;
  });
  lines.on('line', (line) => {
    if (!checked && line.includes('\0')) input.destroy(new UsageError(`${file}: is no text, but a packed binary file`));
    checked = true;
    onLine(line);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      raw.on('error', reject);
      input.on('error', reject);
      once(lines, 'close').then(() => resolve(), reject);
    });
  } catch (error) {
    throw asUsageError(file, error);
  }
  return lastByte === NEWLINE;
}

/** Whether the file is gzipped. Errors: UsageError for one that cannot be read, is empty, or is binary. */
async function probe(file: string): Promise<boolean> {
  const bytes = Buffer.alloc(PROBE_BYTES);
  let length = 0;
  try {
    const handle = await open(file);
    try {
      if ((await handle.stat()).isDirectory()) throw new UsageError(`${file}: is a directory, not a recorded trace`);
      length = (await handle.read(bytes, 0, PROBE_BYTES, 0)).bytesRead;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw asUsageError(file, error);
  }
  if (length === 0) throw new UsageError(`${file}: is empty`);
  if (GZIP_MAGIC.every((byte, i) => bytes[i] === byte)) return true;
  if (bytes.subarray(0, length).includes(0)) throw new UsageError(`${file}: is neither text nor gzipped text`);
  return false;
}

function asUsageError(file: string, error: unknown): Error {
  if (error instanceof UsageError || !(error instanceof Error)) return error as Error;
  const { code = '' } = error as NodeJS.ErrnoException;
  const unreadable = unreadableText(code, 'a recorded trace');
  if (unreadable !== undefined) return new UsageError(`${file}: ${unreadable}`);
  if (code === 'Z_BUF_ERROR') return new UsageError(`${file}: the gzip file is cut off`);
  if (code.startsWith('Z_')) return new UsageError(`${file}: the gzip file is damaged (${error.message})`);
  return error;
}
