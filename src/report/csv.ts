/**
 * Records as comma-separated values (RFC 4180), the fields' names first.
 */
const quoted = (value: unknown): string => {
  const text = String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export function asCsv(records: readonly object[]): string {
  if (records.length === 0) return '';
  const names = Object.keys(records[0]);
  const lines = records.map((record) => names.map((name) => quoted((record as Record<string, unknown>)[name])).join(','));
  return `${[names.join(','), ...lines].join('\n')}\n`;
}
