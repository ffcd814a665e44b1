import { describe, expect, it } from 'vitest';
import { alarms } from '../../src/report/virtual-report.ts';

const stretch = (ns: number) => ({ thread: 'vcpu 3', ns, endNs: ns, operation: 'none' as const });

describe('alarms', () => {
  it("speaks up where the kernel's detectors would", () => {
    expect(alarms(stretch(20e9))).toEqual([]);
    expect(alarms(stretch(20.5e9))).toEqual([
      'soft lockup of vcpu 3: the kernel complains after 20.00 s (twice watchdog_thresh)',
    ]);
    expect(alarms(stretch(22e9))).toHaveLength(2);
  });
});
