/**
 * The numbers of vCPUs of a sweep, as a user writes them.
 */
import { MAX_VCPUS } from '../workloads/memstress-plan.ts';
import { UsageError } from '../workloads/usage-error.ts';

/** The numbers between the one before the dots and the one after them: doubled until there. */
function doubled(from: number, to: number): number[] {
  const numbers = [];
  for (let n = 2 * from; n < to; n *= 2) numbers.push(n);
  return numbers;
}

/** `1,2,4` or `1,…,416` (the dots stand for doubling), each once, ascending. Errors: UsageError. */
export function vcpuList(text: string): number[] {
  const refuse = (): never => {
    throw new UsageError(
      `--vcpus ${text}: give numbers from 1 to ${MAX_VCPUS}, separated by commas; 1,…,416 (or 1,...,416) doubles from 1 to 416`,
    );
  };
  const parts = text.split(',').map((part) => part.trim());
  const numberAt = (i: number): number => {
    const n = /^\d+$/.test(parts[i] ?? '') ? Number(parts[i]) : Number.NaN;
    return n >= 1 && n <= MAX_VCPUS ? n : refuse();
  };
  const numbers = parts.flatMap((part, i) =>
    part === '…' || part === '...' ? doubled(numberAt(i - 1), numberAt(i + 1)) : [numberAt(i)],
  );
  return [...new Set(numbers)].sort((a, b) => a - b);
}
