import { describe, expect, it } from 'vitest';
import { vcpuList } from '../../src/simulate/vcpu-list.ts';

describe('vcpuList', () => {
  it('takes numbers in any order, each once', () => {
    expect(vcpuList('8,1, 2,8')).toEqual([1, 2, 8]);
    expect(vcpuList('1024')).toEqual([1024]);
  });

  it.each(['1,…,416', '1,2,4,…,416', '1,...,416'])('doubles where %s has dots', (text) => {
    expect(vcpuList(text)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 416]);
  });

  it.each(['', '0,1', '1,1025', '1,,2', '1;2', '-1', '1.5', 'NaN', '…,8', '1,…', '1,…,…,8'])('refuses %s', (text) => {
    expect(() => vcpuList(text)).toThrow(`--vcpus ${text}: give numbers from 1 to 1024`);
  });
});
